"""What schemes read out of a message. Whatever cannot be read refuses the signature."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from ...errors import RejectedDelivery, SignatureError
from ..encodings import is_gzip
from ..forms import Form
from ..parsed import Parsed
from .refusals import malformed, missing

__all__ = [
    "canonical_base64",
    "canonical_base64url",
    "form_fields",
    "is_unix_time",
    "is_urlencoded",
    "json_body",
    "json_text",
    "public_url",
    "signature_header",
    "time_header",
    "utf8",
]

_MAX_HEADER = 16_384  # room for 200 signatures; more is work that only a forger would ask for
_UNIX_TIME = re.compile(rb"[0-9]{1,12}")


def signature_header(message: Parsed, *names: str) -> bytes:
    """Return the one value of a header that may come under several names."""
    sent = (value for name in names for value in message.header_values(name))
    values = {value.strip(b" \t") for value in sent}
    shown = " or ".join(names)
    if values <= {b""}:  # a blank one beside another counts: who reads the header sees both
        raise missing(f"the delivery has no {shown} header")
    if len(values) > 1:
        raise malformed(f"{shown} came with {len(values)} different values")
    value = values.pop()
    if len(value) > _MAX_HEADER:
        raise malformed(f"{shown} is longer than {_MAX_HEADER:,} bytes")
    return value


def time_header(message: Parsed, *names: str) -> bytes:
    """Return a unix time as the header carries it, letter by letter."""
    stamp = signature_header(message, *names)
    if not is_unix_time(stamp):
        raise malformed(f"{' or '.join(names)} must be a unix time in digits")
    return stamp


def is_unix_time(stamp: bytes) -> bool:
    """Whether these are the digits of a unix time in seconds."""
    return _UNIX_TIME.fullmatch(stamp) is not None


def public_url(message: Parsed) -> bytes:
    """Return the URL that the sender called and signed."""
    if message.url is None:
        raise SignatureError(
            "missing_url",
            "this provider signs the URL it calls, and the URL is not known here; "
            "give it as Source(public_url=…), or as verify(url=…)",
        )
    return message.url.encode("utf-8", "backslashreplace")


def json_body(message: Parsed) -> Any:
    """Return the body as JSON, where the signature is in it.

    Nobody has signed it yet, and a packed one may be a thousand times larger than what was sent.
    """
    if is_gzip(message.content_encoding):
        raise malformed("the signature is in the body, which must not come packed")
    try:
        return message.json()
    except RejectedDelivery as exc:
        raise malformed(f"the signature is in the body, but {exc.detail}") from None


def json_text(text: bytes, what: str) -> Any:
    """Return JSON that is part of a signature."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise malformed(f"{what} is not JSON") from None


def form_fields(message: Parsed) -> Form:
    """Return the fields of the body, where they are signed."""
    try:
        return message.form()
    except RejectedDelivery as exc:
        raise malformed(f"the form fields are signed, but {exc.detail}") from None


def is_urlencoded(message: Parsed) -> bool:
    """Whether the sender calls the body an urlencoded form."""
    kind = message.content_type.partition(";")[0]
    return kind.strip().lower() == "application/x-www-form-urlencoded"


def utf8(text: str, what: str) -> bytes:
    """Return text that was in a body as bytes; JSON can hold text that is no UTF-8."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise malformed(f"{what} is not UTF-8 text") from None


def canonical_base64(text: bytes, what: str) -> bytes:
    """Decode base64, refusing other spellings of the same bytes."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if not raw or base64.b64encode(raw) != text:
        raise malformed(f"{what} must be base64")
    return raw


def canonical_base64url(text: bytes, what: str) -> bytes:
    """Decode unpadded base64url, refusing other spellings of the same bytes."""
    if b"+" in text or b"/" in text:
        raise malformed(f"{what} must be base64url")
    padded = text.translate(bytes.maketrans(b"-_", b"+/")) + b"=" * (-len(text) % 4)
    return canonical_base64(padded, what)
