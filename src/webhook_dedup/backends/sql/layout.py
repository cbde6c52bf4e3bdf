"""Statements of SQLite for any number of rows, whose texts are few.

To compile a statement costs more than its rows, so what is missing to one of a few sizes is made
up of repetitions, which change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, TypeVar

from .direct import Columns

__all__ = ["TEXTS_KEPT", "Sql", "laid_out"]

T = TypeVar("T")

Sql = tuple[str, Sequence[Any]]
"""A text and its parameters."""

TEXTS_KEPT = 512
"""How many statements a connection should keep: each in all its sizes."""
_EXPANDED = re.compile(r"__\[POSTCOMPILE_(\w+)\]")


def laid_out(text: str, names: Sequence[str], constants: Mapping[str, Any], parameters: Any) -> Sql:
    """Lay out a statement for its parameters.

    Args:
        text: The statement, as :class:`Texts` has it.
        names: Its parameters, in their order.
        constants: Those that it brings along.
        parameters: Those of this call; :class:`Columns` for an insert of several rows.
    """
    if not isinstance(parameters, Columns):
        return _expanded(text, names, {**constants, **parameters})
    rows = _filled(list(zip(*map(parameters.__getitem__, names), strict=True)))
    return _multiplied(text, len(rows)), list(chain.from_iterable(rows))


@lru_cache(maxsize=TEXTS_KEPT)
def _multiplied(text: str, rows: int) -> str:
    """Make an insert of one row one of so many rows."""
    head, _, rest = text.partition(" VALUES ")
    values, _, tail = rest.partition(" ON CONFLICT ")
    return f"{head} VALUES {', '.join([values] * rows)} ON CONFLICT {tail}"


def _expanded(text: str, names: Sequence[str], given: Mapping[str, Any]) -> Sql:
    """Give each list a place holder for each value, and put the parameters in order."""
    lists = {name: _filled(given[name]) for name in _lists(text)}
    values: list[Any] = []
    for name in names:
        if name not in lists:
            values.append(given[name])
        elif _is_pairs(lists[name]):
            values += chain.from_iterable(lists[name])
        else:
            values += lists[name]
    shapes = [(name, len(given), _is_pairs(given)) for name, given in lists.items()]
    return _with_places(text, tuple(shapes)), values


@lru_cache(maxsize=TEXTS_KEPT)
def _lists(text: str) -> frozenset[str]:
    return frozenset(_EXPANDED.findall(text))


def _filled(values: list[T]) -> list[T]:
    return values + values[-1:] * (_size(len(values)) - len(values))


def _size(number: int) -> int:
    """Return the next power of two, or three quarters of it where that is enough."""
    power = 1 << max(0, number - 1).bit_length()
    return power * 3 // 4 if number <= power * 3 // 4 else power


@lru_cache(maxsize=TEXTS_KEPT)
def _with_places(text: str, shapes: tuple[tuple[str, int, bool], ...]) -> str:
    places = {name: _places(number, pairs) for name, number, pairs in shapes}
    return _EXPANDED.sub(lambda match: places[match[1]], text)


def _places(number: int, pairs: bool) -> str:
    if pairs:
        return "VALUES " + ", ".join(["(?, ?)"] * number)
    return ", ".join("?" * number) or "NULL"


def _is_pairs(values: Sequence[Any]) -> bool:
    return bool(values) and isinstance(values[0], tuple)
