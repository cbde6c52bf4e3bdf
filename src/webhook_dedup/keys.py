"""Keys as every store checks, joins, digests and prints them."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

__all__ = ["check_keys", "digest", "joined", "printable"]

_LONGEST_PRINTED = 400


def check_keys(keys: Iterable[str]) -> None:
    """Refuse blank keys and keys that stand twice in one batch.

    Raises:
        ValueError: Names the key.
    """
    checked = list(keys)
    if len(set(checked)) == len(checked) and all(map(str.strip, checked)):
        return
    for position, key in enumerate(checked):
        if not key.strip():
            raise ValueError(f"a key must not be blank: {key!a}")
        if key in checked[:position]:
            raise ValueError(f"a key stands twice in one batch: {key[:200]!a}")


def joined(texts: Iterable[str]) -> str:
    """Join texts with their lengths, so that no two series of them make one key."""
    return ":".join(f"{len(text)}:{text}" for text in texts)


def digest(key: str) -> bytes:
    """Return the 16-byte BLAKE2b digest of a key, lone surrogates included."""
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def printable(key: str) -> str:
    """Return a key as text that any database column takes, cut to 400 characters."""
    if len(key) <= _LONGEST_PRINTED and key.isprintable():
        return key
    text = key[:_LONGEST_PRINTED].encode("utf-8", "backslashreplace").decode()
    return text.replace("\0", "\\x00")[:_LONGEST_PRINTED]
