"""Headers and queries without what must not be kept or shown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote_plus

__all__ = ["MASK", "masked_headers", "masked_query"]

MASK = "***"
_SECRET = re.compile(
    r"""
      auth | cookie | signature | hmac | secret | credential | passw | passphrase | jwt | ^code$
    | verification $  # Plaid-Verification holds a signed token
    | (?<![a-z]) (?:sig|sign|pwd|pass) (?![a-z])
    | (?:api|access) [-_]? key
    # What repeats is known by these; and Bitbucket names its events by X-Event-Key.
    | (?<!idempotency[-_]) token
    | (?<!idempotency) (?<!idempotency[-_]) (?<!event[-_]) key \W* $
    """,
    re.IGNORECASE | re.VERBOSE,
)


def masked_headers(
    headers: Iterable[tuple[bytes, bytes]], also: frozenset[str] = frozenset()
) -> tuple[tuple[str, str], ...]:
    """Return headers as text, the values of secret ones replaced.

    Args:
        headers: Raw pairs.
        also: More names to mask, in lower case.
    """
    pairs = []
    for header, value in headers:
        name, secret = _named(header, also)
        pairs.append((name, MASK if secret else value.decode("latin-1")))
    return tuple(pairs)


def masked_query(query: bytes) -> str:
    """Return a query as text, the values of secret fields replaced."""
    return "&".join(map(_masked_field, query.decode("latin-1").split("&"))) if query else ""


@lru_cache(maxsize=1024)  # senders name the same headers again and again
def _named(header: bytes, also: frozenset[str]) -> tuple[str, bool]:
    name = header.decode("latin-1")
    return name, _sounds_secret(name) or name.lower() in also


def _sounds_secret(name: str) -> bool:
    return _SECRET.search(name) is not None


def _masked_field(field: str) -> str:
    name, equals, _ = field.partition("=")
    return f"{name}={MASK}" if equals and _sounds_secret(unquote_plus(name)) else field
