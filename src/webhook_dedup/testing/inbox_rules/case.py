"""What the rules share: hooks to override, items to put and calls on single ones."""

# ruff: noqa: S101 - a test suite asserts
from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ...contracts import OperableInbox
from ...model import Attempt, Delivery, Item, new_token
from ..coroutines import CoroutineCase
from ..timed import TimedCase

__all__ = [
    "FENCED",
    "InboxCase",
    "a_grave",
    "a_taken",
    "an_attempt",
    "an_item",
    "begin",
    "known",
    "nothing_is_due",
    "put",
    "refuses",
    "renew",
    "take_one",
    "tell",
]

LONG_AGO = 1_600_000_000.0


class InboxCase(CoroutineCase, TimedCase):
    """What a subclass may override, beside the hooks about time."""

    async def spoil(self, inbox: OperableInbox, item_id: str) -> bool:  # noqa: ARG002 - for overriders
        """Make a stored delivery unreadable where it is stored; False where there is no way."""
        return False


def an_item(*, key: str = "", event_id: str = "", **fields: Any) -> Item:
    """Make an item that no other test uses; ``fields`` are those of its delivery."""
    item_id = uuid.uuid4().hex
    given: dict[str, Any] = {
        "source": "github",
        "method": "POST",
        "path": "/hooks/github",
        "headers": ((b"content-type", b"application/json"),),
        "body": b'{"action": "opened"}',
        "received_at": LONG_AGO,
        **fields,
    }
    delivery = Delivery(id=item_id, **given)
    return Item(item_id, new_token(item_id), delivery, key=key, event_id=event_id)


def an_attempt(error: str = "ValueError: no such order", at: float = LONG_AGO) -> Attempt:
    """Make a failed attempt."""
    return Attempt(at=at, where="worker-1:4711", duration=0.25, error=error)


async def put(inbox: OperableInbox, item: Item, lease: float) -> Item:
    """Record one item and return it."""
    await inbox.put([item], lease)
    return item


async def take_one(inbox: OperableInbox, lease: float) -> Item:
    """Take the only item that is due."""
    taken = await inbox.take(10, lease)
    assert len(taken) == 1, f"one item is due, {len(taken)} were taken"
    return taken[0]


async def a_taken(inbox: OperableInbox, lease: float, **fields: Any) -> Item:
    """Record an item and have it taken by another holder, whose item is returned."""
    item = await put(inbox, an_item(**fields), 0.0)
    taken = await take_one(inbox, lease)
    assert taken.id == item.id
    return taken


async def a_grave(inbox: OperableInbox, error: str = "ValueError: dead", **fields: Any) -> Item:
    """Record an item and bury it."""
    item = await put(inbox, an_item(**fields), 0.0)
    assert await inbox.bury(item, an_attempt(error))
    return item


async def begin(inbox: OperableInbox, item: Item) -> bool:
    """Begin an attempt of one item."""
    (answer,) = await inbox.begin([item])
    return answer


async def renew(inbox: OperableInbox, item: Item, lease: float) -> bool:
    """Renew one item."""
    (answer,) = await inbox.renew([item], lease)
    return answer


async def known(inbox: OperableInbox, item: Item) -> Item:
    """Return what the inbox keeps of an item that is there."""
    kept = await inbox.get(item.id)
    assert kept is not None
    return kept


async def nothing_is_due(inbox: OperableInbox) -> bool:
    """Whether a taker goes away with empty hands."""
    return not await inbox.take(10, 0.0)


FENCED: Mapping[str, Callable[[OperableInbox, Item], Awaitable[bool]]] = {
    "begin": begin,
    "renew": lambda inbox, item: renew(inbox, item, 0.0),
    "retry": lambda inbox, item: inbox.retry(item, 0.0, an_attempt("a stranger's retry")),
    "defer": lambda inbox, item: inbox.defer(item, 0.0),
    "bury": lambda inbox, item: inbox.bury(item, an_attempt("a stranger's burial")),
}
"""The verbs that act only for the holder's token, as calls that would show."""


async def refuses(inbox: OperableInbox, item: Item, *verbs: str) -> None:
    """See that the token of an item is refused by some verbs, or all, and changes nothing."""
    before = await inbox.get(item.id)
    for verb in verbs or FENCED:
        assert not await FENCED[verb](inbox, item), f"{verb} by a token that does not hold"
        assert tell(await inbox.get(item.id)) == tell(before), f"a refused {verb} left a trace"


def tell(item: Item | None) -> object:
    """Say what verbs may change of an item, without its body."""
    if item is None:
        return None
    return item.attempts, item.cut_off, item.deferred, item.history, item.dead
