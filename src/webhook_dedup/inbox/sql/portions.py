"""Batches of any size in portions that a database takes at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

__all__ = ["by_number", "by_weight"]

T = TypeVar("T")

_AT_ONCE = 500
_ROOM = 16 * 1024 * 1024


def by_number(batch: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield portions of a bounded number."""
    for start in range(0, len(batch), _AT_ONCE):
        yield batch[start : start + _AT_ONCE]


def by_weight(batch: Sequence[T], weight_of: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """Yield portions bounded in number and in weight, that is in bytes."""
    begin = weight = 0
    for position, one in enumerate(batch):
        size = weight_of(one)
        if position > begin and (position - begin == _AT_ONCE or weight + size > _ROOM):
            yield batch[begin:position]
            begin, weight = position, 0
        weight += size
    if batch:
        yield batch[begin:]
