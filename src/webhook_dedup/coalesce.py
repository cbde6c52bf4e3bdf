"""Concurrent single-key calls become batches, without a timer.

The first call goes to the store at once. Calls that arrive while it is under way go together in
the next batch. Under load this batches by itself; without load it adds nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from itertools import islice
from typing import Any, Generic, TypeAlias, TypeVar

from .contracts import Inbox, Store
from .errors import StoreError, StoreUnavailable
from .model import Bid, Claim, Item, Outcome, Settlement

__all__ = ["Coalescer", "InboxCoalescer", "Lane"]

T = TypeVar("T")
R = TypeVar("R")

_Call: TypeAlias = "tuple[T, asyncio.Future[R]]"

MAX_BATCH = 256


class Lane(Generic[T, R]):
    """Turns calls of one verb into batches of distinct keys.

    Args:
        verb: Takes a batch, gives answers in order. Repeating it must be safe.
        key: Names what must be distinct within a batch.
        orphan: Called with the answer to a call whose caller was cancelled meanwhile, or with
            ``None`` when that call was cut off.
    """

    def __init__(
        self,
        verb: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        key: Callable[[T], object],
        orphan: Callable[[T, R | None], None] | None = None,
    ) -> None:
        self._verb = verb
        self._key = key
        self._orphan = orphan
        # By key, so that one key with many callers costs a batch no more than one with one.
        self._waiting: dict[object, deque[_Call[T, R]]] = {}
        self._busy = False
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, request: T) -> R:
        """Make one call and return its answer, or raise what the store raised for it."""
        if self._busy:
            future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(self._key(request), deque()).append((request, future))
            return await future
        # Nothing is under way: a batch of one, run by its own caller, with no task and no future.
        self._busy = True
        try:
            return (await self._ask([request]))[0]
        except asyncio.CancelledError:
            # The store may or may not have acted; what it granted must not stay with nobody.
            if self._orphan is not None:
                self._orphan(request, None)
            raise
        finally:
            self._next()

    def _next(self) -> None:
        """Start on the calls that came meanwhile."""
        self._busy = bool(self._waiting)
        if self._busy:
            self._worker = asyncio.ensure_future(self._work())

    async def _work(self) -> None:
        batch: list[_Call[T, R]] = []
        try:
            while batch := self._pick():
                try:
                    await self._run(batch)
                except StoreUnavailable as exc:
                    _fail(batch, exc)
        except BaseException:
            _fail(batch, StoreUnavailable("the call was cut off; it may have happened or not"))
            raise
        finally:
            self._next()

    def _pick(self) -> list[_Call[T, R]]:
        """Take one call of each waiting key; what is left of a key waits behind the others."""
        batch: list[_Call[T, R]] = []
        for key in list(islice(self._waiting, MAX_BATCH)):
            calls = self._waiting.pop(key)
            while calls and calls[0][1].done():  # cancelled before it was sent
                calls.popleft()
            if calls:
                batch.append(calls.popleft())
            if calls:
                self._waiting[key] = calls
        return batch

    async def _run(self, batch: list[_Call[T, R]]) -> None:
        try:
            answers = await self._ask([request for request, _ in batch])
        except StoreUnavailable:
            raise
        except Exception as exc:  # noqa: BLE001 - handed to the caller it belongs to
            if len(batch) == 1:
                return _fail(batch, exc)
        else:
            return self._deliver(batch, answers)
        # One bad request must not fail its neighbours. The batch may have happened in part, and
        # every verb may be repeated.
        for call in batch:
            await self._run([call])
        return None

    def _deliver(self, batch: list[_Call[T, R]], answers: Sequence[R]) -> None:
        for (request, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)
            elif self._orphan is not None:
                self._orphan(request, answer)

    async def _ask(self, requests: Sequence[T]) -> Sequence[R]:
        answers = await self._verb(requests)
        if len(answers) != len(requests):
            raise StoreError(f"asked for {len(requests)} answers, the store gave {len(answers)}")
        return answers

    async def idle(self) -> None:
        """Wait until no batch is under way or waiting."""
        while self._worker is not None and not self._worker.done():
            await asyncio.wait([self._worker])


def _fail(batch: Iterable[_Call[T, R]], exc: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(exc)


class Coalescer:
    """The verbs of a store for one key at a time, batched across concurrent callers.

    A caller that is cancelled cancels nobody else; a claim granted to a cancelled caller is
    released again.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._claims: Lane[Bid, Claim] = Lane(store.claim, _key_of, self._abandon)
        self._completions: Lane[Settlement, bool] = Lane(store.complete, _key_of)
        self._releases: Lane[Claim, bool] = Lane(store.release, _key_of)
        self._background: set[asyncio.Task[Any]] = set()

    async def claim(self, bid: Bid) -> Claim:
        """Bid for one key; see :meth:`Store.claim`."""
        return await self._claims(bid)

    async def complete(self, settlement: Settlement) -> bool:
        """Mark one key done; see :meth:`Store.complete`."""
        return await self._completions(settlement)

    async def release(self, claim: Claim) -> bool:
        """Make one held key absent; see :meth:`Store.release`."""
        return await self._releases(claim)

    async def renew(self, claims: Sequence[Claim], lease: float) -> Sequence[bool]:
        """Renew a batch as it is: renewals come batched from the lease keeper."""
        return await self.store.renew(claims, lease)

    async def drain(self) -> None:
        """Wait for calls under way and for releases of abandoned claims."""
        await self._claims.idle()  # first, as its orphans are released in the background
        while self._background:
            await asyncio.wait(self._background)
        await self._completions.idle()
        await self._releases.idle()

    def _abandon(self, bid: Bid, claim: Claim | None) -> None:
        """Give back what a cancelled caller was, or may have been, granted."""
        if claim is None:  # never answered: perhaps granted
            claim = Claim(bid.key, bid.token, Outcome.FRESH)
        if claim.fresh:
            self._spawn(self._give_back(claim))

    async def _give_back(self, claim: Claim) -> None:
        with contextlib.suppress(StoreError):  # the lease ends what the store cannot
            await self._releases(claim)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _key_of(request: Bid | Settlement | Claim) -> str:
    return request.key


class InboxCoalescer:
    """The verbs of an inbox for one item at a time, the frequent ones batched across callers.

    Args:
        inbox: Where the items live.
        lease: Seconds for which an item is held.
    """

    def __init__(self, inbox: Inbox, lease: float) -> None:
        self.inbox = inbox
        self._lease = lease
        self._puts: Lane[Item, None] = Lane(self._put_all, _id_of)
        self._begins: Lane[Item, bool] = Lane(inbox.begin, _id_of)
        self._dones: Lane[Item, None] = Lane(self._done_all, _id_of)

    async def put(self, item: Item) -> None:
        """Record one item; see :meth:`Inbox.put`."""
        await self._puts(item)

    async def begin(self, item: Item) -> bool:
        """Count an attempt of one item; see :meth:`Inbox.begin`."""
        return await self._begins(item)

    async def done(self, item: Item) -> None:
        """Remove one item whose event is done; see :meth:`Inbox.done`."""
        await self._dones(item)

    async def take(self, limit: int) -> Sequence[Item]:
        """Hand over what is due; see :meth:`Inbox.take`."""
        return await self.inbox.take(limit, self._lease)

    async def drain(self) -> None:
        """Wait for batches under way."""
        for lane in (self._puts, self._begins, self._dones):
            await lane.idle()

    async def _put_all(self, items: Sequence[Item]) -> Sequence[None]:
        await self.inbox.put(items, self._lease)
        return [None] * len(items)

    async def _done_all(self, items: Sequence[Item]) -> Sequence[None]:
        await self.inbox.done(items)
        return [None] * len(items)


def _id_of(item: Item) -> str:
    return item.id
