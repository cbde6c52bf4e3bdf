"""A small genuine-looking delivery of every provider, for tests and for ``webhook-dedup send``."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from ...errors import ConfigError
from ..catalog import find_preset
from ..parsed import Parsed, raw_headers
from ..preset import Preset
from ..schemes import QueryToken, SealingScheme, SignatureScheme
from . import business, chat, developer, email, payments, platforms, standard
from .keys import SampleSecret, make_secret
from .occasion import Occasion, Sample

__all__ = ["SAMPLES", "SampleDelivery", "SampleSecret", "sample_delivery", "sample_secret"]

_FAMILIES = (standard, payments, email, chat, developer, business, platforms)

SAMPLES: Mapping[str, Sample] = {
    name: sample for family in _FAMILIES for name, sample in family.SAMPLES.items()
}
"""A sample for every row of the catalog, by its name."""


@dataclass(frozen=True, slots=True)
class SampleDelivery:
    """A request that a provider might send.

    Attributes:
        method: The HTTP method.
        url: Where it is sent, as it was signed, with its query.
        headers: All headers, those of the signature included.
        body: The exact bytes.
    """

    method: str
    url: str
    headers: dict[str, str]
    body: bytes

    @property
    def query(self) -> bytes:
        """The raw query of the URL."""
        return urlsplit(self.url).query.encode()


def sample_secret(name: str) -> SampleSecret:
    """Return a new secret in the format of a provider.

    Raises:
        ConfigError: There is no such provider, or it needs a package that is not installed.
    """
    return make_secret(_scheme(find_preset(name)))


def sample_delivery(
    name: str,
    *,
    secret: str | bytes | None,
    event: str = "1",
    items: Sequence[str] = (),
    attempt: int = 1,
    now: float | None = None,
    url: str | None = None,
    body: bytes | None = None,
) -> SampleDelivery:
    """Return a delivery that passes for one of the provider ``name``.

    Copies of one event have the same ``event`` and, where its times matter, the same ``now``. Two
    events have in common what a careless key would be made of, such as the object they are about.

    Args:
        name: Name of a provider.
        secret: What signs it (see :func:`sample_secret`); ``None`` leaves it unsigned.
        event: Which event, as any text.
        items: The events of one delivery, for providers that send several; ``event`` if empty.
        attempt: From 2 on a redelivery as this provider makes it: signed anew, a second later for
            each attempt, and with whatever counts attempts.
        now: Unix time of the first attempt; the clock's if ``None``.
        url: Where it is sent; some providers sign that.
        body: A body of your own in place of the sample's.

    Raises:
        ConfigError: There is no such provider, the secret has the wrong format or cannot sign, or
            the provider sends no batches.
    """
    preset, sample = find_preset(name), SAMPLES[name]
    moment = time.time() if now is None else now
    occasions = [Occasion(each, attempt, moment) for each in items or (event,)]
    headers = {"Content-Type": _content_type(sample), **sample.headers(occasions[0])}
    made = _body(sample, occasions) if body is None else body
    target = url or f"https://hooks.example.com/webhooks/{name}"
    unsigned = SampleDelivery("POST", target, headers, made)
    if secret is None:
        return unsigned
    scheme = _scheme(preset)
    return _signed(unsigned, scheme, scheme.load_secret(secret), sample.sent(occasions[0]))


def _scheme(preset: Preset) -> SignatureScheme:
    if preset.scheme is None:
        raise ConfigError(f"{preset.title} does not sign its deliveries")
    return preset.scheme


def _content_type(sample: Sample) -> str:
    return "application/x-www-form-urlencoded" if sample.form else sample.content_type


def _body(sample: Sample, occasions: Sequence[Occasion]) -> bytes:
    events = [sample.event(at) for at in occasions]
    if sample.batch is None and len(events) > 1:
        raise ConfigError("this provider sends each event by itself")
    content = sample.batch(events, occasions[0]) if sample.batch else events[0]
    return _form(content) if sample.form else json.dumps(content).encode() + sample.ending


def _form(fields: Mapping[str, Any]) -> bytes:
    return urlencode(
        {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in fields.items()
        }
    ).encode()


def _signed(
    delivery: SampleDelivery, scheme: SignatureScheme, secret: bytes, now: float
) -> SampleDelivery:
    url = delivery.url
    if isinstance(scheme, QueryToken):
        url += f"{'&' if delivery.query else '?'}{urlencode({scheme.name: secret})}"
    body = delivery.body
    if isinstance(scheme, SealingScheme):
        body = scheme.seal(_message(delivery, url, body), secret, now)
    proof = scheme.sign(_message(delivery, url, body), secret, now)
    proven = {name.lower() for name in proof}
    headers = {
        name: value for name, value in delivery.headers.items() if name.lower() not in proven
    }
    return SampleDelivery(delivery.method, url, {**headers, **proof}, body)


def _message(delivery: SampleDelivery, url: str, body: bytes) -> Parsed:
    query = urlsplit(url).query.encode()
    headers = raw_headers(delivery.headers)
    return Parsed(headers, body, method=delivery.method, url=url, query=query)
