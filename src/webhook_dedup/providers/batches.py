"""Deliveries that carry several events: each found, read by itself, and carried on by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from ..errors import ConfigError, RejectedDelivery
from .encodings import packed
from .forms import Form
from .parsed import Parsed

__all__ = ["ItemRequest", "Items", "compile_items", "compile_subset"]

Items = str | tuple[str, ...]
"""Where the items of a delivery are, see :func:`compile_items`."""

Trail = tuple[str | int, ...]
"""The way from the top of a document down to one value: names and positions."""

MOST_ITEMS = 10_000
_EACH = "[*]"
_STEP = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|\[\*\]")
_PATH = re.compile(r"@|(\[\*\]|[A-Za-z_][A-Za-z0-9_]*)(\[\*\]|\.[A-Za-z_][A-Za-z0-9_]*)*")


class ItemRequest(Parsed):
    """One item of a batch, read like a request that brought it alone.

    Its headers, its URL and its form are those of the delivery. ``json()`` is the item, ``body``
    the item's JSON in one fixed spelling, by which two copies of it can be compared.

    Attributes:
        outer: The outermost array element that holds the item, which may be the item itself.
        found: What was found in outer elements, shared by all items of a delivery, so that what
            one element says is read once and not for every item it holds.
    """

    __slots__ = ("_delivery", "found", "outer")

    def __init__(
        self,
        delivery: Parsed,
        value: object,
        outer: object,
        found: dict[tuple[int, str], object],
    ) -> None:
        super().__init__(
            delivery.headers,
            _written(value, sort=True),
            method=delivery.method,
            url=delivery.url,
            query=delivery.query,
        )
        self._json = value
        self._delivery = delivery
        self.outer = outer
        self.found = found

    def header_values(self, name: str) -> list[bytes]:
        return self._delivery.header_values(name)

    def form(self) -> Form:
        return self._delivery.form()


def compile_items(expression: Items) -> Callable[[Parsed], list[Parsed]]:
    """Return a function that finds the items of a delivery, in their order.

    A delivery that is no batch, because it is not JSON or holds none of the arrays, is its own
    and only item. An empty array has no items.

    Args:
        expression: Names and ``[*]``, as in ``"data.events"`` (the same as ``"data.events[*]"``),
            ``"notificationItems[*].NotificationRequestItem"``, or ``"@"`` for a body that is an
            array. Several in a tuple are all looked for; where an item of one lies within an
            item of another, the inner one counts. After ``"form:field:"`` the paths lead into
            JSON in a form field; after a media type and a colon they hold for bodies of that
            type only.

    Raises:
        ConfigError: The expression is invalid.
    """
    batch = _Batch.of(expression)

    def items(parsed: Parsed) -> list[Parsed]:
        found = batch.find(parsed)
        if found is None:
            return [parsed]
        document, trails = found
        shared: dict[tuple[int, str], object] = {}
        return [
            ItemRequest(parsed, _at(document, trail), _at(document, _outermost(trail)), shared)
            for trail in trails
        ]

    return items


def compile_subset(expression: Items) -> Callable[[Parsed, Collection[int]], bytes]:
    """Return a function that writes a delivery's body with some of its items only.

    It takes the delivery and the positions of the items to keep, as ``compile_items`` counts
    them. What holds none of these is left out, the rest stays as it was. A delivery that is no
    batch keeps its body.

    Raises:
        ConfigError: The expression is invalid.
    """
    batch = _Batch.of(expression)

    def subset(parsed: Parsed, kept: Collection[int]) -> bytes:
        found = batch.find(parsed)
        if found is None:
            return parsed.body
        document, trails = found
        remaining = {way for index in kept for way in _ways(trails[index])}
        gone = {way for trail in trails for way in _ways(trail)} - remaining
        above = {way[:length] for way in gone for length in range(len(way))}
        return batch.write(parsed, _written(_without(document, gone, above)))

    return subset


@dataclass(frozen=True, slots=True)
class _Batch:
    """Where the items of a delivery are.

    Attributes:
        paths: The steps of each path.
        field: The form field that holds the JSON, or empty for the body.
        media_type: The only type of body that is a batch, or empty for any.
    """

    paths: tuple[tuple[str, ...], ...]
    field: str = ""
    media_type: str = ""

    @classmethod
    def of(cls, expression: Items) -> _Batch:
        if not expression:
            raise ConfigError("items names no path; write for example 'data.events[*]', or '@'")
        if not isinstance(expression, str):
            return cls(tuple(_steps(path) for path in expression))
        head, colon, path = expression.rpartition(":")
        if not colon:
            return cls((_steps(expression),))
        kind, _, field = head.partition(":")
        if kind == "form" and field:
            return cls((_steps(path),), field=field)
        if "/" in head:
            return cls((_steps(path),), media_type=head.lower())
        raise ConfigError(
            f"items={expression!r} begins with neither 'form:field:' nor a media type"
        )

    def find(self, parsed: Parsed) -> tuple[Any, list[Trail]] | None:
        """Return the document and the ways to its items, or ``None`` if this is no batch."""
        if self.media_type and parsed.content_type.partition(";")[0].strip().lower() != (
            self.media_type
        ):
            return None
        document = self._document(parsed)
        found = {trail for path in self.paths for trail in _few(_trails(path, document))}
        innermost = set(_few(found - {way for trail in found for way in _ways(trail[:-1])}))
        if innermost or any(_holds_empty(path, document) for path in self.paths):
            return document, sorted(innermost)
        return None

    def _document(self, parsed: Parsed) -> Any:
        if self.field:
            return _field_json(parsed, self.field)
        try:
            return parsed.json()
        except RejectedDelivery:
            return None

    def write(self, parsed: Parsed, document: bytes) -> bytes:
        if not self.field:
            return packed(parsed.content_encoding, document)
        form = {**parsed.form(), self.field: [document.decode()]}
        return urlencode(form, doseq=True).encode()


def _steps(path: object) -> tuple[str, ...]:
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise ConfigError(
            f"{path!r} is no path to items: write names and [*], such as 'data.events[*]', or '@'"
        )
    steps = tuple(_STEP.findall(path))
    return steps if _EACH in steps else (*steps, _EACH)


def _trails(steps: Sequence[str], value: Any, trail: Trail = ()) -> Iterator[Trail]:
    """Follow a path to everything it leads to."""
    if not steps:
        yield trail
    elif steps[0] == _EACH:
        for position, element in enumerate(value if isinstance(value, list) else ()):
            yield from _trails(steps[1:], element, (*trail, position))
    elif isinstance(value, dict) and steps[0] in value:
        yield from _trails(steps[1:], value[steps[0]], (*trail, steps[0]))


def _few(trails: Iterable[Trail]) -> list[Trail]:
    """Return the trails as a list unless they are too many.

    Raises:
        RejectedDelivery: They are (413).
    """
    taken = list(islice(trails, MOST_ITEMS + 1))
    if len(taken) > MOST_ITEMS:
        detail = f"the delivery carries more than {MOST_ITEMS:,} items"
        raise RejectedDelivery(413, "too_many_items", detail)
    return taken


def _holds_empty(steps: Sequence[str], document: object) -> bool:
    """Whether a path leads to an array that is there and empty."""
    upto = len(steps) - steps[::-1].index(_EACH) - 1
    return any(_at(document, trail) == [] for trail in _trails(steps[:upto], document))


def _ways(trail: Trail) -> Iterable[Trail]:
    return (trail[:length] for length in range(1, len(trail) + 1))


def _outermost(trail: Trail) -> Trail:
    first = next(index for index, step in enumerate(trail) if isinstance(step, int))
    return trail[: first + 1]


def _at(document: Any, trail: Trail) -> Any:
    for step in trail:
        document = document[step]
    return document


def _without(value: Any, gone: set[Trail], above: set[Trail], trail: Trail = ()) -> Any:
    """Return a copy without what lies at the end of these ways; ``above`` are their beginnings."""
    if trail not in above:
        return value
    if isinstance(value, list):
        return [
            _without(element, gone, above, (*trail, position))
            for position, element in enumerate(value)
            if (*trail, position) not in gone
        ]
    return {
        name: _without(element, gone, above, (*trail, name))
        for name, element in value.items()
        if (*trail, name) not in gone
    }


def _field_json(parsed: Parsed, field: str) -> Any:
    text = parsed.form_value(field)
    return None if text is None else Parsed((), text.encode("utf-8", "surrogatepass")).json()


def _written(value: object, *, sort: bool = False) -> bytes:
    try:
        return json.dumps(value, sort_keys=sort, separators=(",", ":")).encode()
    except RecursionError:
        raise RejectedDelivery(400, "malformed_json", "the items are nested too deeply") from None
