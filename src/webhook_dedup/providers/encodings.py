"""Bodies that came compressed, unpacked within bounds."""

from __future__ import annotations

import gzip
import zlib

__all__ = ["MOST_UNPACKED", "BadEncoding", "HoldsTooMuch", "is_gzip", "packed", "unpacked"]

MOST_UNPACKED = 16 * 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS


class BadEncoding(ValueError):
    """A compressed body cannot be unpacked. The message says why and quotes nothing of it."""


class HoldsTooMuch(BadEncoding):
    """A compressed body holds more than it may."""


def unpacked(content_encoding: str, body: bytes, most: int = MOST_UNPACKED) -> bytes:
    """Return what a gzip body holds, and any other body as it is.

    Raises:
        HoldsTooMuch: It holds more than ``most`` bytes.
        BadEncoding: It is malformed, cut off, or more follows it, which others read as well.
    """
    if not is_gzip(content_encoding):
        return body
    reader = zlib.decompressobj(_GZIP)
    try:
        content = reader.decompress(body, most)
    except zlib.error:
        raise BadEncoding("it is no gzip") from None
    if reader.unconsumed_tail:
        raise HoldsTooMuch(f"it unpacks to more than {most} bytes")
    if not reader.eof:
        raise BadEncoding("the gzip ends before its time")
    if reader.unused_data.strip(b"\0"):
        raise BadEncoding("more follows the end of the gzip")
    return content


def packed(content_encoding: str, content: bytes) -> bytes:
    """Return content as gzip if that is the encoding, otherwise as it is."""
    return gzip.compress(content) if is_gzip(content_encoding) else content


def is_gzip(content_encoding: str) -> bool:
    """Whether the sender says that the body is packed so."""
    return content_encoding.strip().lower() in ("gzip", "x-gzip")
