"""Keyed digests: made, recognised and compared."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Algorithm",
    "EncodingName",
    "any_match",
    "digest_looks",
    "hmac_digest",
    "is_digest",
    "is_one_of",
]

Algorithm = Literal["sha1", "sha256", "sha384", "sha512"]
EncodingName = Literal["hex", "base64"]


@dataclass(frozen=True, slots=True)
class _Encoding:
    encode: Callable[[bytes], bytes]
    alphabet: bytes
    looks: str


_ENCODINGS = {
    "hex": _Encoding(lambda raw: raw.hex().encode(), b"0123456789abcdef", "lower-case hex"),
    "base64": _Encoding(
        base64.b64encode,
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=",
        "base64",
    ),
}


def hmac_digest(secret: bytes, signed: bytes, algorithm: str, encoding: str) -> bytes:
    """Return the encoded HMAC."""
    return _ENCODINGS[encoding].encode(hmac.digest(secret, signed, algorithm))


def is_digest(candidate: bytes, algorithm: str, encoding: str) -> bool:
    """Whether this could be an encoded digest, by length and alphabet."""
    right_length = len(candidate) == _digest_length(algorithm, encoding)
    return right_length and not candidate.translate(None, _ENCODINGS[encoding].alphabet)


def digest_looks(algorithm: str, encoding: str) -> str:
    """Return what a digest looks like, for people."""
    return f"a {algorithm} digest in {_ENCODINGS[encoding].looks}"


def any_match(candidates: Iterable[bytes], expected: Iterable[bytes]) -> bool:
    """Compare each with each; stopping at the first match would tell which secret it was."""
    matched = False
    for digest in expected:
        for candidate in candidates:
            matched |= hmac.compare_digest(candidate, digest)
    return matched


def is_one_of(token: bytes, secrets: Iterable[bytes]) -> bool:
    """Whether a token is one of the secrets, compared by hash: not even the length can be timed."""
    hashed = [hashlib.sha256(secret).digest() for secret in secrets]
    return any_match([hashlib.sha256(token).digest()], hashed)


@functools.cache
def _digest_length(algorithm: str, encoding: str) -> int:
    return len(_ENCODINGS[encoding].encode(bytes(hashlib.new(algorithm).digest_size)))
