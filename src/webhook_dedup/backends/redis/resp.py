"""Commands as the server reads them.

https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

__all__ = ["Word", "packed", "set_new"]

Word = str | bytes | int

_SET_NEW = (
    b"*7\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"
    b"$2\r\nNX\r\n$3\r\nGET\r\n$2\r\nPX\r\n$%d\r\n%b\r\n"
)
_FORMATTED = 1024
_FRONT = 5  # words; what follows the name of a command, a script and its first key is bytes
_BYTES = frozenset({bytes})


class _Heads(dict[int, bytes]):
    """What separates a word from the one before it, by the word's length.

    Most words are short, and to look this up takes half the time of formatting it.
    """

    def __missing__(self, length: int) -> bytes:
        return b"\r\n$%d\r\n" % length


_HEADS = _Heads((length, b"\r\n$%d\r\n" % length) for length in range(_FORMATTED))


def packed(command: Sequence[Word]) -> bytes:
    """Write a command."""
    words = [word if type(word) is bytes else _encoded(word) for word in command[:_FRONT]]
    rest = command[_FRONT:]
    words += cast(Any, rest) if _BYTES.issuperset(map(type, rest)) else map(_encoded, rest)
    laid_out = [b"\r\n"] * (2 * len(words) + 2)
    laid_out[0] = b"*%d" % len(words)
    laid_out[1:-1:2] = map(_HEADS.__getitem__, map(len, words))
    laid_out[2::2] = words
    return b"".join(laid_out)


def _encoded(word: Word) -> bytes:
    # Not all bytes: the text of a buffer or of a subclass is none of what it holds.
    return str(word).encode() if isinstance(word, (str, int)) else bytes(word)


def set_new(key: bytes, value: bytes, expiry: bytes) -> bytes:
    """Write ``SET`` of a key that must be absent, for so many milliseconds."""
    return _SET_NEW % (len(key), key, len(value), value, len(expiry), expiry)
