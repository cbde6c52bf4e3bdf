"""Acts on items of the inbox: those that are named, or those that a filter finds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import typer

from ...admin.actions import Act, Action, Subject, one_by_one, subject_of_item
from ...admin.lookup import Storage
from ...contracts import OperableInbox, Sought
from ...errors import ConfigError
from ..audit import note, write
from ..output import print_json, say
from ..progress import bar
from ..storage import Urls, opened_storage
from .looking import walk

__all__ = ["Order", "carry_out"]

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Order:
    """What a person wants done, and to which items.

    Attributes:
        action: What it is.
        ids: The items, or none where a filter says which.
        sought: The filter.
        state: Which state the filter means if it names none.
        yes: Do not ask.
        as_json: Answer in JSON.
    """

    action: Action
    ids: Sequence[str]
    sought: Sought
    state: Literal["waiting", "dead"]
    yes: bool
    as_json: bool


async def carry_out(urls: Urls, order: Order, act: Act) -> int:
    """Act on the items a person named, or on those the filter finds and he agrees to.

    They are collected first: the items counted are those acted on, and what comes meanwhile, or
    comes back from the action itself, is left alone.
    """
    if bool(order.ids) == (order.sought != Sought()):
        raise ConfigError("name either ids or a filter such as --source or --state")
    async with opened_storage(urls.outliving) as storage:
        found = await (_named(storage, order.ids) if order.ids else _found(storage.inbox, order))
        if found and not order.ids and not _agreed(order, len(found)):
            return 1
        done = 0
        with bar(order.action.name, len(found)) as advance:
            for start in range(0, len(found), _AT_ONCE):
                part = found[start : start + _AT_ONCE]
                done += await _act_on(storage, part, order.action, act)
                advance(len(part))
    if order.as_json:
        print_json({"action": order.action.name, "matched": len(found), "done": done})
    else:
        say(f"{order.action.name}: {done} of {len(found)}" if found else "nothing found")
    return 0 if done else 1


async def _act_on(storage: Storage, part: Sequence[Subject], action: Action, act: Act) -> int:
    if storage.history is None:
        return await act(storage.inbox, [each.delivery_id for each in part])
    done = await one_by_one(storage.inbox, part, act, partial(note, storage.history, action))
    await write(storage.history)
    return done


async def _named(storage: Storage, ids: Sequence[str]) -> list[Subject]:
    """Return the items of these ids, with all that a history keeps of what is done to them."""
    if storage.history is None:
        return [*map(Subject, ids)]
    items = [(item_id, await storage.inbox.get(item_id)) for item_id in ids]
    return [subject_of_item(item) if item else Subject(item_id) for item_id, item in items]


async def _found(inbox: OperableInbox, order: Order) -> list[Subject]:
    sought = replace(order.sought, state=order.sought.state or order.state)
    found: dict[str, Subject] = {}
    with bar("look", await inbox.count(sought)) as advance:
        async for item in walk(inbox, sought):
            found[item.id] = subject_of_item(item)
            advance(1)
    return [*found.values()]


def _agreed(order: Order, number: int) -> bool:
    if order.yes:
        return True
    question = f"{order.action.name} {number} item{'' if number == 1 else 's'}"
    if not sys.stdin.isatty():
        say(f"{question}? Nobody is there to ask: pass --yes", err=True)
        return False
    return typer.confirm(f"{question}?", err=True)
