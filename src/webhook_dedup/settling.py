"""Settles claims with their store, whatever becomes of those who ask for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from time import monotonic
from typing import Any, TypeVar

from .coalesce import Coalescer
from .debts import SLACK, Debtor, Owed
from .errors import StoreError
from .model import Claim, Event, Settlement
from .observe.record import Kind
from .observe.recorder import Recorder

__all__ = ["Settler"]

S = TypeVar("S")

FIRST_WAIT = 0.05
LONGEST_WAIT = 5.0
LONGEST_SHARE = 1 / 6  # of a lease, after which others may run what is not noted as done
LAST_WAIT = 1.0  # while a process that ends is held up


class Settler:
    """Completes and releases claims. A caller that is cancelled stops no settlement.

    Args:
        store: Where the claims were made.
        record: Takes a record of each store failure that a settlement meets.
    """

    def __init__(self, store: Coalescer, record: Recorder) -> None:
        self._store = store
        self._record = record
        self._settling: set[asyncio.Task[Any]] = set()
        self._owed: set[Owed] = set()
        self._debtor = Debtor(self._settle_up)
        self._draining = asyncio.Event()
        self._over = False
        self._loop = asyncio.get_running_loop()  # kept: to ask costs a system call before 3.12

    async def complete(self, event: Event, settlement: Settlement) -> bool | None:
        """Ask for a completion for as long as it takes; see :meth:`Engine.complete`."""
        try:
            return await self._ask(event, settlement)
        except asyncio.CancelledError:
            self._take_over(self.complete(event, settlement))
            raise

    async def complete_within(self, patience: float, owed: Owed) -> bool | None:
        """Wait for a completion for some seconds; it goes on, whatever becomes of the caller."""
        answer: asyncio.Future[bool | None] = self._loop.create_future()
        owed.answer = answer
        if owed.until:
            self._owed.add(owed)
        self.start(self._pay(owed))
        try:
            done, _ = await asyncio.wait([answer], timeout=patience)
        except asyncio.CancelledError:
            self._leave(owed)
            raise
        if not done:
            self._leave(owed)
            return None
        return answer.result()

    async def release(self, event: Event, claim: Claim) -> bool | None:
        """Ask for a release, once; see :meth:`Engine.release`."""
        try:
            return await self._store.release(claim)
        except asyncio.CancelledError:
            self._take_over(self.release(event, claim))
            raise
        except Exception as exc:  # noqa: BLE001 - the lease ends what the store cannot
            self._tell(event, exc)
            return None

    def start(self, settling: Coroutine[Any, Any, S]) -> asyncio.Task[S]:
        """Begin a settlement in a task of its own, which draining waits for.

        A turn of the runner awaits its settlements in place, since draining waits for the turn;
        whatever else settles goes through here.
        """
        task = asyncio.create_task(settling)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        return task

    async def see_through(self, settling: Coroutine[Any, Any, S]) -> S:
        """Await a settlement that goes on when the caller is cancelled meanwhile."""
        return await asyncio.shield(self.start(settling))

    async def drain(self, timeout: float) -> None:
        """Wait for what is under way; see :meth:`Engine.drain`."""
        self._draining.set()
        ending = [*self._settling, asyncio.ensure_future(self._store.drain())]
        _, late = await asyncio.wait(ending, timeout=timeout)
        self._over = True
        for task in late:
            task.cancel()
        for owed in list(self._owed):
            self._give_up(owed)

    async def _settle_up(self) -> None:
        """Wait for completions for as long as their leases may hold."""
        if self._owed:
            longest = max(owed.until for owed in self._owed) - monotonic()
            await self.drain(max(0.0, longest) + SLACK)

    def _leave(self, owed: Owed) -> None:
        owed.leave()
        if owed in self._owed:
            self._debtor.owe(owed.until)

    async def _pay(self, owed: Owed) -> None:
        try:
            told = await self._ask(owed.event, owed.settlement, owed.until)
        except asyncio.CancelledError:
            self._take_over(self._pay(owed), owed)
            raise
        if told is None:
            self._give_up(owed)
        self._owed.discard(owed)
        owed.end(told)

    async def _ask(self, event: Event, settlement: Settlement, until: float = 0.0) -> bool | None:
        """Ask until the store answers; when draining, until a monotonic time."""
        wait, lease = FIRST_WAIT, settlement.claim.remaining  # 0 where the store cannot tell
        longest = min(LONGEST_WAIT, lease * LONGEST_SHARE or LONGEST_WAIT)
        while True:
            try:
                return await self._store.complete(settlement)
            except Exception as exc:  # noqa: BLE001 - whatever fails, the handler has succeeded
                self._tell(event, exc)
            if not self._draining.is_set():
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._draining.wait(), wait)
            else:
                left = until - monotonic()
                if left <= 0:
                    return None
                await asyncio.sleep(min(wait, left, LAST_WAIT))
            wait = min(wait * 2, longest)

    def _give_up(self, owed: Owed) -> None:
        """Record that the store has not confirmed a completion, and will not be asked again."""
        if owed in self._owed:
            self._owed.discard(owed)
            detail = (
                "its work is done, but the store did not take that before the end of this process; "
                "it may be done again"
            )
            self._record.about(Kind.STORE_ERROR, owed.event, detail=detail, warning=True)
        owed.end(None)

    def _take_over(self, settling: Coroutine[Any, Any, S], owed: Owed | None = None) -> None:
        """Go on with the settlement of a caller that was cancelled: every verb may be repeated.

        What is in a task of ours is not gone on with, unless its lease may hold: ``asyncio.run``
        cancels every task of a loop that ends, before this library is told to drain.
        """
        ours = asyncio.current_task() in self._settling
        if self._over or (ours and owed not in self._owed):
            settling.close()
        else:
            self.start(settling)

    def _tell(self, event: Event, exc: Exception) -> None:
        unforeseen = None if isinstance(exc, StoreError) else exc
        detail = f"{self._store.store.name}: {exc}"
        self._record.about(Kind.STORE_ERROR, event, detail=detail, error=unforeseen)
