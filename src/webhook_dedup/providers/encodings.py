"""Bodies that came compressed, unpacked within bounds."""

from __future__ import annotations

import gzip
import zlib

__all__ = ["MOST_UNPACKED", "BadEncoding", "is_gzip", "packed", "unpacked"]

MOST_UNPACKED = 16 * 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS


class BadEncoding(ValueError):
    """A compressed body cannot be unpacked. The message says why and quotes nothing of it."""


def unpacked(content_encoding: str, body: bytes) -> bytes:
    """Return what a gzip body holds, and any other body as it is.

    Raises:
        BadEncoding: It is malformed, cut off, holds more than 16 MiB, or more follows it, which
            others read as well.
    """
    if not is_gzip(content_encoding):
        return body
    reader = zlib.decompressobj(_GZIP)
    try:
        content = reader.decompress(body, MOST_UNPACKED)
    except zlib.error:
        raise BadEncoding("it is no gzip") from None
    if reader.unconsumed_tail:
        raise BadEncoding(f"it unpacks to more than {MOST_UNPACKED:,} bytes")
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
