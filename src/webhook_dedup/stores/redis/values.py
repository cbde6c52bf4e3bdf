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
    "fingerprint_field",
    "held_value",
    "milliseconds",
    "parse",
    "redis_key",
    "result_tail",
    "token_field",
]

_VALUE = re.compile(
    rb"(?P<state>held|done) (?P<token>\S*) (?P<first_seen>\d+) (?P<fingerprint>-|[A-Za-z0-9+/]*=*)"
    rb"(?: (?P<expires>\d+)(?P<tail>\n.*)?)?",
    re.DOTALL,
)
_PLAIN_TOKEN = re.compile(r"[A-Za-z0-9._~-]*")
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
    if _PLAIN_TOKEN.fullmatch(token):  # as ours are; quoting costs more than all else here
        return token.encode()
    return quote(token, safe="", errors="surrogatepass").encode()


def fingerprint_field(fingerprint: bytes | None) -> bytes:
    """Write a fingerprint, or that there is none."""
    return b"-" if fingerprint is None else b2a_base64(fingerprint, newline=False)


def held_value(token: str, first_seen: float, fingerprint: bytes | None) -> bytes:
    """Write a claim."""
    moment = round(first_seen * 1000)
    return b"held %b %d %b" % (token_field(token), moment, fingerprint_field(fingerprint))


def result_tail(result: bytes | None) -> bytes:
    """Write the end of a done value; an empty result differs from none."""
    return b"" if result is None else b"\n" + result


def parse(value: bytes) -> Entry:
    """Take a value apart. A held one does not tell when it expires: its key does.

    Raises:
        ValueError: This library did not write it.
    """
    match = _VALUE.fullmatch(value)
    if match is None or (match["state"] == b"done") != (match["expires"] is not None):
        raise ValueError("not a claim")
    fingerprint, tail = match["fingerprint"], match["tail"]
    return Entry(
        token=unquote(match["token"].decode(), errors="surrogatepass"),
        expires_at=int(match["expires"] or 0) / 1000,
        first_seen=int(match["first_seen"]) / 1000,
        fingerprint=None if fingerprint == b"-" else a2b_base64(fingerprint),
        done=match["state"] == b"done",
        result=None if tail is None else tail[1:],
    )


@lru_cache(maxsize=64)  # a process knows few leases and TTLs
def milliseconds(seconds: float) -> int:
    """Round a duration up, never to 0: Redis refuses an expiry of nothing."""
    return max(1, math.ceil(min(seconds * 1000, _LONGEST_EXPIRY)))
