"""The verbs of a store and of an inbox for one key at a time, batched across callers."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Collection, Sequence
from operator import attrgetter
from typing import Any, TypeAlias

from .contracts import Inbox, Store
from .errors import StoreError
from .lane import Direct, Lane, lane_of
from .model import Bid, Claim, Item, Outcome

__all__ = ["Coalescer", "InboxCoalescer"]

_key_of = attrgetter("key")
_id_of = attrgetter("id")


class Coalescer:
    """The verbs of a store for one key at a time, batched across concurrent callers.

    A caller that is cancelled cancels nobody else; a claim granted to a cancelled caller is
    released again.

    Attributes:
        store: The store.
        claim: Bids for one key; see :meth:`Store.claim`.
        complete: Marks one key done; see :meth:`Store.complete`.
        release: Makes one held key absent; see :meth:`Store.release`.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.claim = lane_of(store, store.claim, _key_of, self._abandon)
        self.complete = lane_of(store, store.complete, _key_of)
        self.release = lane_of(store, store.release, _key_of)
        self._background: set[asyncio.Task[Any]] = set()

    async def renew(self, claims: Sequence[Claim], lease: float) -> Sequence[bool]:
        """Renew a batch as it is: renewals come batched from the lease keeper."""
        return await self.store.renew(claims, lease)

    def give_back(self, claim: Claim) -> None:
        """Release a claim that nobody wants any more, in the background."""
        task = asyncio.create_task(self._let_go(claim))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def drain(self) -> None:
        """Wait for calls under way and for claims that are given back."""
        await self.claim.idle()  # first, as its orphans are released in the background
        while self._background:
            await asyncio.wait(self._background)
        await self.complete.idle()
        await self.release.idle()

    def _abandon(self, bid: Bid, claim: Claim | None) -> None:
        """Give back what a cancelled caller was, or may have been, granted."""
        if claim is None:  # never answered: perhaps granted
            claim = Claim(bid.key, bid.token, Outcome.FRESH)
        if claim.fresh:
            self.give_back(claim)

    async def _let_go(self, claim: Claim) -> None:
        with contextlib.suppress(StoreError):  # the lease ends what the store cannot
            await self.release(claim)


_Silent: TypeAlias = Lane[Item, None] | Direct[Item, None]
"""A verb that answers nothing."""


class InboxCoalescer:
    """The verbs of an inbox for one item at a time, the frequent ones batched across callers.

    Args:
        inbox: Where the items live.
        lease: Seconds for which an item is held.

    Attributes:
        inbox: The inbox.
        put: Records one item; see :meth:`Inbox.put`.
        begin: Counts an attempt of one item; see :meth:`Inbox.begin`.
        done: Removes one item whose event is done; see :meth:`Inbox.done`.
        let_go: Lets one held item come due at once; false if it is held no more.
    """

    def __init__(self, inbox: Inbox, lease: float) -> None:
        self.inbox = inbox
        self._lease = lease
        self._chooses = "sources" in inspect.signature(inbox.take).parameters
        self.put: _Silent = lane_of(
            inbox, lambda items: inbox.put(items, lease), _id_of, silent=True
        )
        self.begin = lane_of(inbox, inbox.begin, _id_of)
        self.done: _Silent = lane_of(inbox, inbox.done, _id_of, silent=True)
        self.let_go = lane_of(inbox, lambda items: inbox.renew(items, 0.0), _id_of)

    async def take(self, limit: int, sources: Collection[str] | None) -> Sequence[Item]:
        """Hand over what is due; see :meth:`Inbox.take`."""
        if sources is None or not self._chooses:
            return await self.inbox.take(limit, self._lease)
        return await self.inbox.take(limit, self._lease, sources=sources)

    async def drain(self) -> None:
        """Wait for batches under way."""
        for lane in (self.put, self.begin, self.done, self.let_go):
            await lane.idle()
