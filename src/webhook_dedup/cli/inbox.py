"""``webhook-dedup inbox``: look into the inbox of an app, and act on what waits or died there."""

from __future__ import annotations

import enum
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Literal, get_args

import typer

from ..contracts import OperableInbox, Sought
from ..desk.deeds import BURY, PURGE, REPLAY, Deed, Subject, one_by_one, subject_of_item
from ..desk.moments import instant
from ..desk.stories import Rooms
from ..errors import ConfigError
from ..model import Item
from .diary import note, write
from .items import COLUMNS, cells, details, print_details, summary
from .output import AsJson, duration, obey, print_json, print_table, say
from .places import InboxUrl, Places, StoreUrl, opened_inbox, opened_rooms
from .progress import bar

__all__ = ["inbox"]

inbox = typer.Typer(no_args_is_help=True, help="Look into the inbox, and act on what is there.")

_PER_PAGE = 50  # a page has its bodies in memory
_AT_ONCE = 500

_StateName = Literal["waiting", "dead"]
_Act = Callable[[OperableInbox, Sequence[str]], Awaitable[int]]


class State(enum.Enum):
    """States of an item."""

    waiting = "waiting"
    dead = "dead"


_Source = Annotated[str | None, typer.Option("--source", help="Name of the source.")]
_State = Annotated[State | None, typer.Option("--state", help="Waiting or dead.")]
_Older = Annotated[
    float | None,
    typer.Option("--older-than", parser=duration, metavar="AGE", help="Such as 90, 10m, 2h, 3d."),
]
_Younger = Annotated[
    float | None,
    typer.Option("--younger-than", parser=duration, metavar="AGE", help="As --older-than."),
]
_Error = Annotated[str | None, typer.Option("--error", help="Text in the last error.")]
_EventId = Annotated[str | None, typer.Option("--event-id", help="The provider's event id.")]
_Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of items.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Act on what a filter finds without asking.")]


@inbox.command("list")
def list_(
    *,
    source: _Source = None,
    state: _State = None,
    older_than: _Older = None,
    younger_than: _Younger = None,
    error: _Error = None,
    event_id: _EventId = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    store: StoreUrl = "",
    beside: InboxUrl = "",
    as_json: AsJson = False,
) -> None:
    """List items, the oldest received first; with --json one object a line."""
    sought = _sought(source, state, older_than, younger_than, error, event_id)
    obey(_list(Places(store, beside), sought, limit, as_json=as_json))


@inbox.command()
def show(
    item_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the item.")],
    store: StoreUrl = "",
    beside: InboxUrl = "",
    as_json: AsJson = False,
) -> None:
    """Show one item: request, body and failed attempts. Secrets in headers are masked."""
    obey(_show(Places(store, beside), item_id, as_json=as_json))


@inbox.command()
def stats(
    *,
    source: _Source = None,
    older_than: _Older = None,
    younger_than: _Younger = None,
    error: _Error = None,
    event_id: _EventId = None,
    store: StoreUrl = "",
    beside: InboxUrl = "",
    as_json: AsJson = False,
) -> None:
    """Count what waits and what is dead."""
    sought = _sought(source, None, older_than, younger_than, error, event_id)
    obey(_stats(Places(store, beside), sought, as_json=as_json))


@inbox.command()
def replay(
    ids: _Ids = None,
    *,
    source: _Source = None,
    state: _State = None,
    older_than: _Older = None,
    younger_than: _Younger = None,
    error: _Error = None,
    event_id: _EventId = None,
    yes: _Yes = False,
    store: StoreUrl = "",
    beside: InboxUrl = "",
    as_json: AsJson = False,
) -> None:
    """Run items again, attempts counted from zero. A filter means dead letters unless it says."""
    sought = _sought(source, state, older_than, younger_than, error, event_id)
    order = _Order(REPLAY, ids or [], sought, "dead", yes=yes, as_json=as_json)
    obey(_carry_out(Places(store, beside), order, lambda inbox, part: inbox.requeue(part)))


@inbox.command()
def bury(
    ids: _Ids = None,
    *,
    source: _Source = None,
    older_than: _Older = None,
    younger_than: _Younger = None,
    error: _Error = None,
    event_id: _EventId = None,
    reason: Annotated[str, typer.Option(help="For the history.")] = "buried by an operator",
    yes: _Yes = False,
    store: StoreUrl = "",
    beside: InboxUrl = "",
    as_json: AsJson = False,
) -> None:
    """Make waiting items dead letters: they run only when they are replayed."""
    sought = _sought(source, None, older_than, younger_than, error, event_id)
    order = _Order(BURY, ids or [], sought, "waiting", yes=yes, as_json=as_json)
    obey(_carry_out(Places(store, beside), order, lambda inbox, part: inbox.shelve(part, reason)))


@inbox.command()
def purge(
    ids: _Ids = None,
    *,
    source: _Source = None,
    state: _State = None,
    older_than: _Older = None,
    younger_than: _Younger = None,
    error: _Error = None,
    event_id: _EventId = None,
    yes: _Yes = False,
    store: StoreUrl = "",
    beside: InboxUrl = "",
    as_json: AsJson = False,
) -> None:
    """Delete items for good. A filter means dead letters unless it says."""
    sought = _sought(source, state, older_than, younger_than, error, event_id)
    order = _Order(PURGE, ids or [], sought, "dead", yes=yes, as_json=as_json)
    obey(_carry_out(Places(store, beside), order, lambda inbox, part: inbox.purge(part)))


@dataclass(frozen=True, slots=True)
class _Order:
    """What a person wants done, and to which items.

    Attributes:
        deed: What it is.
        ids: The items, or none where a filter says which.
        sought: The filter.
        state: Which state the filter means if it names none.
        yes: Do not ask.
        as_json: Answer in JSON.
    """

    deed: Deed
    ids: Sequence[str]
    sought: Sought
    state: _StateName
    yes: bool
    as_json: bool


def _sought(
    source: str | None,
    state: State | None,
    older_than: float | None,
    younger_than: float | None,
    error: str | None,
    event_id: str | None,
) -> Sought:
    name: _StateName | None = None if state is None else state.value
    return Sought(source, name, older_than, younger_than, error, event_id)


async def _list(places: Places, sought: Sought, limit: int, *, as_json: bool) -> int:
    rows: list[tuple[str, ...]] = []
    number = 0
    async with opened_inbox(places) as inbox:
        async for item in _walk(inbox, sought, limit):
            number += 1
            if as_json:
                print_json(summary(item))
            else:
                rows.append(cells(item))
        total = number if number < limit or as_json else await inbox.count(sought)
    if rows:
        print_table(COLUMNS, rows)
    if not as_json:
        say(f"{number} of {total}" if number else "nothing found")
    return 0 if number else 1


async def _show(places: Places, item_id: str, *, as_json: bool) -> int:
    async with opened_inbox(places) as inbox:
        item = await inbox.get(item_id)
    if item is None:
        say(f"no item {item_id}", err=True)
        return 1
    if as_json:
        print_json(details(item))
    else:
        print_details(item)
    return 0


async def _stats(places: Places, sought: Sought, *, as_json: bool) -> int:
    names: tuple[_StateName, ...] = get_args(_StateName)
    async with opened_inbox(places) as inbox:
        every = {name: await _count(inbox, replace(sought, state=name)) for name in names}
    if as_json:
        print_json(
            {
                name: {"count": count, "oldest_received_at": oldest}
                for name, (count, oldest) in every.items()
            }
        )
    else:
        rows = (
            (name, str(count), "-" if oldest is None else instant(oldest))
            for name, (count, oldest) in every.items()
        )
        print_table(("state", "items", "oldest received"), rows)
    return 0


async def _count(inbox: OperableInbox, sought: Sought) -> tuple[int, float | None]:
    oldest = await inbox.find(sought, limit=1)
    return await inbox.count(sought), oldest[0].delivery.received_at if oldest else None


async def _walk(
    inbox: OperableInbox, sought: Sought, limit: int | None = None
) -> AsyncIterator[Item]:
    """Yield what is found, a page at a time."""
    after, left = "", sys.maxsize if limit is None else limit
    while left > 0:
        asked = min(left, _PER_PAGE)
        page = await inbox.find(sought, limit=asked, after=after)
        for item in page:
            yield item
        if len(page) < asked:
            return
        after, left = page[-1].id, left - asked


async def _carry_out(places: Places, order: _Order, act: _Act) -> int:
    """Act on the items a person named, or on those the filter finds and he agrees to.

    They are collected first: the items counted are those acted on, and what comes meanwhile, or
    comes back from the action itself, is left alone.
    """
    if bool(order.ids) == (order.sought != Sought()):
        raise ConfigError("name either ids or a filter such as --source or --state")
    async with opened_rooms(places.outliving) as rooms:
        found = await (_named(rooms, order.ids) if order.ids else _found(rooms.inbox, order))
        if found and not order.ids and not _agreed(order, len(found)):
            return 1
        done = 0
        with bar(order.deed.name, len(found)) as advance:
            for start in range(0, len(found), _AT_ONCE):
                part = found[start : start + _AT_ONCE]
                done += await _act_on(rooms, part, order.deed, act)
                advance(len(part))
    if order.as_json:
        print_json({"action": order.deed.name, "matched": len(found), "done": done})
    else:
        say(f"{order.deed.name}: {done} of {len(found)}" if found else "nothing found")
    return 0 if done else 1


async def _act_on(rooms: Rooms, part: Sequence[Subject], deed: Deed, act: _Act) -> int:
    if rooms.history is None:
        return await act(rooms.inbox, [each.delivery_id for each in part])
    done = await one_by_one(rooms.inbox, part, act, partial(note, rooms.history, deed))
    await write(rooms.history)
    return done


async def _named(rooms: Rooms, ids: Sequence[str]) -> list[Subject]:
    """Return the items of these ids, with all that a history keeps of what is done to them."""
    if rooms.history is None:
        return [*map(Subject, ids)]
    items = [(item_id, await rooms.inbox.get(item_id)) for item_id in ids]
    return [subject_of_item(item) if item else Subject(item_id) for item_id, item in items]


async def _found(inbox: OperableInbox, order: _Order) -> list[Subject]:
    sought = replace(order.sought, state=order.sought.state or order.state)
    found: dict[str, Subject] = {}
    with bar("look", await inbox.count(sought)) as advance:
        async for item in _walk(inbox, sought):
            found[item.id] = subject_of_item(item)
            advance(1)
    return [*found.values()]


def _agreed(order: _Order, number: int) -> bool:
    if order.yes:
        return True
    question = f"{order.deed.name} {number} item{'' if number == 1 else 's'}"
    if not sys.stdin.isatty():
        say(f"{question}? Nobody is there to ask: pass --yes", err=True)
        return False
    return typer.confirm(f"{question}?", err=True)
