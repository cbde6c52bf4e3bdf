"""Senders of webhooks: their facts as rows, their signatures, where their ids are found."""

from __future__ import annotations

import time

from ..errors import ConfigError
from .catalog import PRESETS, find_preset
from .extract import (
    Expression,
    compile_extractor,
    compile_lenient,
    compile_time,
    event_id_of,
    parse_time,
)
from .parsed import Headers, Parsed, raw_headers
from .preset import Preset
from .schemes import HmacSignature, Secrets, SignatureScheme, TimestampedHmac, load_secrets

__all__ = [
    "PRESETS",
    "Expression",
    "HmacSignature",
    "Parsed",
    "Preset",
    "SignatureScheme",
    "TimestampedHmac",
    "compile_extractor",
    "compile_lenient",
    "compile_time",
    "event_id_of",
    "find_preset",
    "load_secrets",
    "parse_time",
    "raw_headers",
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
        ConfigError: There is no such provider, it does not sign, or a secret has the wrong format.
    """
    scheme = _scheme(name)
    secrets = load_secrets(scheme, secret)
    message = Parsed(raw_headers(headers), body, method=method, url=url)
    scheme.verify(message, secrets, time.time() if now is None else now)


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
    other headers of the request, for providers that sign some of them.

    Raises:
        ConfigError: There is no such provider, it does not sign, or the secret has the wrong
            format.
    """
    scheme = _scheme(name)
    message = Parsed(raw_headers(headers or ()), body, method=method, url=url)
    return scheme.sign(message, scheme.load_secret(secret), time.time() if now is None else now)


def _scheme(name: str) -> SignatureScheme:
    preset = find_preset(name)
    if preset.scheme is None:
        raise ConfigError(f"{preset.title} does not sign its deliveries")
    return preset.scheme
