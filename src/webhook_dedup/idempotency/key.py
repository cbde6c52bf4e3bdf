"""What makes two requests the same: the key, who sent it, and what it came with."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable
from hashlib import blake2b

from ..asgi.types import Scope
from ..errors import RejectedDelivery
from ..model import fingerprint_of
from ..providers.encodings import unpacked
from ..providers.ids import kind_of

__all__ = ["LONGEST_KEY", "body_key", "checked", "credentials", "fingerprint", "header_key"]

LONGEST_KEY = 255

# A string of RFC 8941 section 3.3.3, with the parameters that an item may have behind it.
_QUOTED = re.compile(rb'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"\s*(?:;[\x20-\x7e]*)?')
_BARE = re.compile(rb"[\x21\x23-\x2b\x2d-\x3a\x3c-\x7e]+")  # visible, without " , ;
_BOUNDARY = re.compile(rb'boundary="?([^";]+)"?', re.IGNORECASE)

Headers = Iterable[tuple[bytes, bytes]]


def header_key(headers: Headers, name: bytes) -> str | None:
    """Read the key from its header, quoted or not; ``None`` if there is none.

    Raises:
        RejectedDelivery: It is no string, too long, or there are several (400).
    """
    values = {value.strip() for found, value in headers if found.lower() == name}
    if not values:
        return None
    if len(values) > 1:
        raise _bad_key("the header came several times with different values")
    return checked(_parsed(values.pop()))


def _parsed(value: bytes) -> str:
    if _BARE.fullmatch(value):
        return value.decode()
    quoted = _QUOTED.fullmatch(value)
    if quoted is None:
        raise _bad_key('write it as a string of ASCII characters in quotes, such as "8e03978e"')
    return re.sub(rb"\\(.)", rb"\1", quoted[1]).decode()


def body_key(found: object) -> str:
    """Return the key that was found in a body.

    Raises:
        RejectedDelivery: It is neither text nor an integer, blank or too long (400).
    """
    if not isinstance(found, (str, int)) or isinstance(found, bool):
        raise _bad_key(f"it must be a string or an integer, got {kind_of(found)}")
    if isinstance(found, int) and found.bit_length() > 4 * LONGEST_KEY:  # too long to be printed
        raise _too_long()
    return checked(str(found))


def checked(key: str) -> str:
    """Return a key that is neither blank nor too long.

    Raises:
        RejectedDelivery: It is one of these (400).
    """
    if not key.strip():
        raise _bad_key("it is blank")
    if len(key) > LONGEST_KEY:
        raise _too_long()
    return key


def _too_long() -> RejectedDelivery:
    return _bad_key(f"it is longer than {LONGEST_KEY} characters")


def _bad_key(why: str) -> RejectedDelivery:
    return RejectedDelivery(400, "bad_key", f"The idempotency key cannot be used: {why}.")


def credentials(scope: Scope) -> str | None:
    """Tell callers apart by what they authenticate with: Authorization and Cookie, digested.

    HTTP/2 may bring one Cookie header in pieces (RFC 9113 section 8.2.3), which some servers pass
    on, and a retry over HTTP/1.1 brings it whole.
    """
    named = [(name.lower(), value) for name, value in scope["headers"] if value.strip()]
    shown = sorted(b"authorization\0" + value for name, value in named if name == b"authorization")
    cookies = [value for name, value in named if name == b"cookie"]
    if cookies:
        shown.append(b"cookie\0" + b"; ".join(cookies))
    return blake2b(b"\0\0".join(shown), digest_size=16).hexdigest() if shown else None


def fingerprint(scope: Scope, body: bytes) -> bytes:
    """Digest what must be the same in every retry: query and payload.

    JSON is compared by what it says, and forms in parts without the boundary that clients make up
    anew each time. What came as gzip, which holds the time of packing, is compared unpacked, byte
    by byte: there may be too much of it to be read as JSON.
    """
    content = body
    with contextlib.suppress(ValueError):
        content = unpacked(_header(scope, b"content-encoding").decode("latin-1"), body)
    if content is body:
        content = _payload(_header(scope, b"content-type"), body)
    return fingerprint_of(scope["query_string"] + b"\0" + content)


def _header(scope: Scope, wanted: bytes) -> bytes:
    return b"".join(value for name, value in scope["headers"] if name.lower() == wanted)


def _payload(content_type: bytes, body: bytes) -> bytes:
    if b"json" in content_type.lower():
        try:
            return json.dumps(json.loads(body), sort_keys=True).encode()
        except (ValueError, RecursionError):
            return body
    boundary = _BOUNDARY.search(content_type)
    return body.replace(boundary[1], b"") if boundary else body
