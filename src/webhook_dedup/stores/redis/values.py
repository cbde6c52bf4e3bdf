"""How one claim is written into one Redis string, and under which key.

::

    held <token> <first seen> <fingerprint>
    done <token> <first seen> <fingerprint> <expires>[LF<result>]

Times are Unix milliseconds by the server's clock, the token is percent-encoded, the fingerprint
base64 or ``-``; the result is the rest, byte for byte. So a script tells whose claim it is by a
prefix, and turns a held value into a done one without taking it apart.
"""

from __future__ import annotations

import math
import re
from binascii import a2b_base64, b2a_base64
from functools import lru_cache
from urllib.parse import quote, unquote

from ...keys import digest
from ..entry import Entry

__all__ = [
    "claim_text",
    "fingerprint_field",
    "milliseconds",
    "parse",
    "redis_key",
    "result_tail",
    "token_field",
]

_VALUE = re.compile(
    rb"(held|done) (\S*) (\d+) (-|[A-Za-z0-9+/]*=*)(?: (\d+)(\n.*)?)?",
    re.DOTALL,
)
_CHANGED = bytes(
    byte if quote(chr(byte), safe="") == chr(byte) else byte ^ 1 for byte in range(256)
)
"""A table for ``translate`` that leaves alone only what is written as it is."""
_LONGEST_READABLE_KEY = 512  # bytes
_HEAD_OF_LONG_KEY = 64  # characters
_LONGEST_EXPIRY = 10**14  # about 3,000 years; Redis refuses what overflows its clock


def redis_key(prefix: str, key: str) -> bytes:
    """Name a key: readable while short, else its head and its digest in a name space apart."""
    text = f"{prefix}k:{key}".encode("utf-8", "surrogatepass")
    if len(text) <= _LONGEST_READABLE_KEY:
        return text
    head = f"{prefix}h:{key[:_HEAD_OF_LONG_KEY]}:{digest(key).hex()}"
    return head.encode("utf-8", "surrogatepass")


def token_field(token: str) -> bytes:
    """Write a token without the blanks that separate fields."""
    raw = token.encode("utf-8", "surrogatepass")
    # Ours are plain, and quoting costs more than all else here.
    return raw if raw.translate(_CHANGED) == raw else quote(raw, safe="").encode()


def fingerprint_field(fingerprint: bytes | None) -> bytes:
    """Write a fingerprint, or that there is none."""
    return b"-" if fingerprint is None else b2a_base64(fingerprint, newline=False)


def claim_text(token: str, first_seen: int | None, fingerprint: bytes | None) -> bytes:
    """Write what follows the state; in place of a time that is not known stands a dash."""
    moment = b"-" if first_seen is None else b"%d" % first_seen
    return b"%b %b %b" % (token_field(token), moment, fingerprint_field(fingerprint))


def result_tail(result: bytes | None) -> bytes:
    """Write the end of a done value; an empty result differs from none."""
    return b"" if result is None else b"\n" + result


def parse(value: bytes) -> Entry:
    """Take a value apart. A held one does not tell when it expires: its key does.

    Raises:
        ValueError: This library did not write it.
    """
    match = _VALUE.fullmatch(value)
    if match is None:
        raise ValueError("not a claim")
    state, token, first_seen, fingerprint, expires, tail = match.groups()
    if (state == b"done") != (expires is not None):
        raise ValueError("not a claim")
    return Entry(
        unquote(token.decode(), errors="surrogatepass"),
        0.0 if expires is None else int(expires) / 1000,
        int(first_seen) / 1000,
        None if fingerprint == b"-" else a2b_base64(fingerprint),
        expires is not None,
        None if tail is None else tail[1:],
    )


@lru_cache(maxsize=64)  # a process knows few leases and TTLs
def milliseconds(seconds: float) -> bytes:
    """Round a duration up, never to 0: Redis refuses an expiry of nothing."""
    return b"%d" % max(1, math.ceil(min(seconds * 1000, _LONGEST_EXPIRY)))
