"""Configured secrets as keys: letter by letter, or decoded from hex or base64."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

from ...errors import ConfigError

__all__ = [
    "KEY_FORMATS",
    "KeyFormat",
    "exact_key",
    "from_base64",
    "hex_key",
    "text_key",
    "text_of",
]

KeyFormat = Literal["text", "hex", "base64"]


def text_key(secret: str | bytes) -> bytes:
    """Return a secret as bytes."""
    if not isinstance(secret, (str, bytes)):
        raise ConfigError(f"a secret is text or bytes, got {type(secret).__name__}")
    if not secret.strip():
        raise ConfigError("the secret is blank; give the signing secret as the provider shows it")
    try:
        return secret.encode() if isinstance(secret, str) else secret
    except UnicodeEncodeError:
        raise ConfigError("the secret is not UTF-8 text; give it as bytes") from None


def exact_key(secret: str | bytes) -> bytes:
    """Return a secret of which every character counts, so that one too many fails each delivery."""
    if isinstance(secret, str) and secret.strip() not in ("", secret):
        raise ConfigError(
            "the secret begins or ends with white space, such as the line feed of the file it was "
            "read from; strip() it, or give it as bytes if that belongs to it"
        )
    return text_key(secret)


def text_of(secret: str | bytes, looks: str) -> str:
    """Return a secret that is some notation for a key as ASCII text without surrounding blanks."""
    try:
        return text_key(secret).decode("ascii").strip()
    except UnicodeDecodeError:
        raise ConfigError(f"the secret must be {looks}") from None


def hex_key(secret: str | bytes, looks: str = "hex digits, two for each byte") -> bytes:
    """Return the bytes of a secret written in hex of either case."""
    try:
        return binascii.unhexlify(text_of(secret, looks))
    except ValueError:
        raise ConfigError(f"the secret must be {looks}") from None


def _base64_key(secret: str | bytes) -> bytes:
    """Return the bytes of a secret written in base64, padded or not."""
    return from_base64(text_of(secret, "base64").encode(), "base64")


def from_base64(encoded: bytes, looks: str) -> bytes:
    """Decode base64, padded or not; refuse text that was not made by encoding something."""
    bare = encoded.rstrip(b"=")
    try:
        key = base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True)
    except ValueError:
        key = b""
    if not key or base64.b64encode(key).rstrip(b"=") != bare:
        raise ConfigError(f"the secret must be {looks}")
    return key


KEY_FORMATS: Mapping[str, Callable[[str | bytes], bytes]] = MappingProxyType(
    {"text": exact_key, "hex": hex_key, "base64": _base64_key}
)
