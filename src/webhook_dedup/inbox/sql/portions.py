"""Batches of any size in portions that a database takes at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

__all__ = ["by_number", "by_weight"]

T = TypeVar("T")

_AT_ONCE = 500
_ROOM = 16 * 1024 * 1024


def by_number(batch: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield portions of a bounded number."""
    for start in range(0, len(batch), _AT_ONCE):
        yield batch[start : start + _AT_ONCE]


def by_weight(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Yield portions of rows to write, bounded in number and in bytes."""
    part: list[Mapping[str, Any]] = []
    weight = 0
    for row in rows:
        size = len(row["body"]) + len(row["head"])
        if part and (len(part) == _AT_ONCE or weight + size > _ROOM):
            yield part
            part, weight = [], 0
        part.append(row)
        weight += size
    if part:
        yield part
