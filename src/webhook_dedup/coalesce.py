"""Concurrent single-key calls become batches, without a timer.

The first call goes to the store at once. Calls that arrive while it is under way go together in
the next batch. Under load this batches by itself; without load it adds nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from .contracts import Store
from .errors import StoreError, StoreUnavailable
from .model import Bid, Claim, Outcome, Settlement

__all__ = ["Coalescer", "Lane"]

T = TypeVar("T")
R = TypeVar("R")

MAX_BATCH = 256


class Lane(Generic[T, R]):
    """Turns calls of one verb into batches of distinct keys.

    Args:
        verb: Takes a batch, gives answers in order. Repeating it must be safe.
        key: Names what must be distinct within a batch.
        orphan: Called with the answer to a call whose caller was cancelled meanwhile.
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
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._busy = False
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, request: T) -> R:
        """Make one call and return its answer, or raise what the store raised for it."""
        if self._busy:
            future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
            self._waiting.append((request, future))
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
            self._busy = False
            self._next()

    def _next(self) -> None:
        if self._waiting:
            self._busy = True
            self._worker = asyncio.ensure_future(self._work())

    async def _work(self) -> None:
        try:
            while batch := self._pick():
                await self._run(batch)
        finally:
            self._busy = False
            self._next()

    def _pick(self) -> list[tuple[T, asyncio.Future[R]]]:
        """Take waiting calls with distinct keys, in order; a key that repeats waits its turn."""
        batch: list[tuple[T, asyncio.Future[R]]] = []
        keys: set[object] = set()
        later: list[tuple[T, asyncio.Future[R]]] = []
        while self._waiting and len(batch) < MAX_BATCH:
            call = self._waiting.popleft()
            key = self._key(call[0])
            if call[1].done():  # cancelled before it was sent
                continue
            if key in keys:
                later.append(call)
            else:
                keys.add(key)
                batch.append(call)
        self._waiting.extendleft(reversed(later))
        return batch

    async def _run(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            answers = await self._ask([request for request, _ in batch])
        except StoreUnavailable as exc:
            _fail(batch, exc)
        except Exception as exc:  # noqa: BLE001 - handed to the callers it belongs to
            if len(batch) > 1:
                await self._run_singly(batch)
            else:
                _fail(batch, exc)
        except BaseException:
            _fail(batch, StoreUnavailable("the batch was cut off by the end of the event loop"))
            raise
        else:
            for (request, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
                elif self._orphan is not None:
                    self._orphan(request, answer)

    async def _run_singly(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        """Find the bad request of a failed batch without failing its neighbours.

        The batch may have happened in part, and every verb may be repeated.
        """
        for call in batch:
            await self._run([call])

    async def _ask(self, requests: Sequence[T]) -> Sequence[R]:
        answers = await self._verb(requests)
        if len(answers) != len(requests):
            raise StoreError(f"asked for {len(requests)} answers, the store gave {len(answers)}")
        return answers

    async def idle(self) -> None:
        """Wait until nothing is under way or waiting."""
        while self._worker is not None and not self._worker.done():
            await asyncio.wait([self._worker])


def _fail(batch: list[tuple[T, asyncio.Future[R]]], exc: Exception) -> None:
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
        while self._background:
            await asyncio.wait(list(self._background))
        for lane in (self._claims, self._completions, self._releases):
            await lane.idle()

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
