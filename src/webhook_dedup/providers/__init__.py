"""Senders of webhooks: their facts as rows, their signatures, where their ids are found."""

from __future__ import annotations

import time

from ..errors import ConfigError
from .batches import ItemRequest, Items, compile_items, compile_subset
from .catalog import PRESETS, find_preset
from .extract import (
    Expression,
    FirstOf,
    compile_extractor,
    compile_lenient,
    compile_time,
)
from .handshakes import Handshake, OriginPermission, Reply
from .ids import event_id_of
from .parsed import Headers, Parsed, raw_headers
from .preset import Preset
from .schemes import (
    HmacSignature,
    SealingScheme,
    Secrets,
    SignatureScheme,
    TimestampedHmac,
    load_secrets,
)
from .subscriptions import SnsConfirmation
from .times import parse_time

__all__ = [
    "PRESETS",
    "Expression",
    "FirstOf",
    "Handshake",
    "HmacSignature",
    "ItemRequest",
    "Items",
    "OriginPermission",
    "Parsed",
    "Preset",
    "Reply",
    "SignatureScheme",
    "SnsConfirmation",
    "TimestampedHmac",
    "compile_extractor",
    "compile_items",
    "compile_lenient",
    "compile_subset",
    "compile_time",
    "event_id_of",
    "find_preset",
    "load_secrets",
    "parse_time",
    "raw_headers",
    "seal",
    "sign",
    "verify",
]


def verify(
    name: str,
    *,
    secret: Secrets,
    headers: Headers,
    body: bytes,
    url: str | None = None,
    method: str = "POST",
    now: float | None = None,
) -> None:
    """Return if the provider ``name`` signed this request with one of the secrets.

    Args:
        name: Name of a preset.
        secret: The secret, or several while one is being rotated.
        headers: A mapping or pairs, as text or bytes, in the order they came.
        body: The exact bytes; JSON that was parsed and written again does not verify.
        url: The public URL, for providers that sign it.
        method: The HTTP method.
        now: Unix time; the clock's if ``None``.

    Raises:
        SignatureError: It did not, and ``code`` says why. Nothing else is raised, whatever the
            headers and the body hold.
        ConfigError: There is no such provider, or a secret has the wrong format.
    """
    scheme = _scheme(name)
    secrets = load_secrets(scheme, secret)
    scheme.verify(_message(headers, body, url, method), secrets, _or_now(now))


def sign(
    name: str,
    *,
    secret: str | bytes,
    body: bytes,
    headers: Headers | None = None,
    url: str | None = None,
    method: str = "POST",
    now: float | None = None,
) -> dict[str, str]:
    """Return the headers with which a request passes for one of the provider ``name``.

    For tests and demonstrations. The arguments are those of :func:`verify`; ``headers`` are the
    other headers of the request, for providers that sign some of them. Public-key schemes sign
    with the private key. Where the signature stands in the body, call :func:`seal` first.

    Raises:
        ConfigError: There is no such provider, or the secret has the wrong format or cannot sign.
    """
    scheme = _scheme(name)
    message = _message(headers or (), body, url, method)
    return scheme.sign(message, scheme.load_secret(secret), _or_now(now))


def seal(
    name: str,
    *,
    secret: str | bytes,
    body: bytes,
    headers: Headers | None = None,
    url: str | None = None,
    method: str = "POST",
    now: float | None = None,
) -> bytes:
    """Return the body with the signatures in it that the provider ``name`` puts there.

    The body is returned as it is where the provider signs in headers only. The arguments are those
    of :func:`sign`, which is to be called with the sealed body.

    Raises:
        ConfigError: As :func:`sign`; or the body has no place for a signature.
    """
    scheme = _scheme(name)
    if not isinstance(scheme, SealingScheme):
        return body
    message = _message(headers or (), body, url, method)
    return scheme.seal(message, scheme.load_secret(secret), _or_now(now))


def _message(headers: Headers, body: bytes, url: str | None, method: str) -> Parsed:
    query = (url or "").partition("#")[0].partition("?")[2].encode()
    return Parsed(raw_headers(headers), body, method=method, url=url, query=query)


def _or_now(now: float | None) -> float:
    return time.time() if now is None else now


def _scheme(name: str) -> SignatureScheme:
    preset = find_preset(name)
    if preset.scheme is None:
        raise ConfigError(f"{preset.title} does not sign its deliveries")
    return preset.scheme
