"""Settles claims with their store, whatever becomes of those who ask for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from time import monotonic
from typing import Any, TypeVar

from .coalesce import Coalescer
from .errors import StoreError
from .model import Claim, Event, Settlement
from .observe.record import Kind
from .observe.recorder import Recorder
from .unconfirmed import SLACK, ExitWait, PendingCompletion

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
        self._pending: set[PendingCompletion] = set()
        self._exit_wait = ExitWait(self._wait_for_pending)
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

    async def complete_within(self, patience: float, pending: PendingCompletion) -> bool | None:
        """Wait for a completion for some seconds; it goes on, whatever becomes of the caller."""
        answer: asyncio.Future[bool | None] = self._loop.create_future()
        pending.answer = answer
        if pending.until:
            self._pending.add(pending)
        self.start(self._confirm(pending))
        try:
            done, _ = await asyncio.wait([answer], timeout=patience)
        except asyncio.CancelledError:
            self._leave(pending)
            raise
        if not done:
            self._leave(pending)
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
        for pending in list(self._pending):
            self._give_up(pending)

    async def _wait_for_pending(self) -> None:
        """Wait for completions for as long as their leases may hold."""
        if self._pending:
            longest = max(pending.until for pending in self._pending) - monotonic()
            await self.drain(max(0.0, longest) + SLACK)

    def _leave(self, pending: PendingCompletion) -> None:
        pending.leave()
        if pending in self._pending:
            self._exit_wait.extend(pending.until)

    async def _confirm(self, pending: PendingCompletion) -> None:
        try:
            told = await self._ask(pending.event, pending.settlement, pending.until)
        except asyncio.CancelledError:
            self._take_over(self._confirm(pending), pending)
            raise
        if told is None:
            self._give_up(pending)
        self._pending.discard(pending)
        pending.end(told)

    async def _ask(self, event: Event, settlement: Settlement, until: float = 0.0) -> bool | None:
        """Ask until the store answers; when draining, until a monotonic time."""
        wait = FIRST_WAIT
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
            # A store that cannot tell says 0; of a lease that is nearly over the share is tiny.
            share = settlement.claim.remaining * LONGEST_SHARE or LONGEST_WAIT
            wait = min(wait * 2, max(share, FIRST_WAIT), LONGEST_WAIT)

    def _give_up(self, pending: PendingCompletion) -> None:
        """Record that the store has not confirmed a completion, and will not be asked again."""
        if pending in self._pending:
            self._pending.discard(pending)
            detail = (
                "its work is done, but the store did not take that before the end of this process; "
                "it may be done again"
            )
            self._record.about(Kind.STORE_ERROR, pending.event, detail=detail, warning=True)
        pending.end(None)

    def _take_over(
        self, settling: Coroutine[Any, Any, S], pending: PendingCompletion | None = None
    ) -> None:
        """Go on with the settlement of a caller that was cancelled: every verb may be repeated.

        A cancelled task of this settler is only continued while its lease may hold: at its end
        ``asyncio.run`` cancels every task, before this library is told to drain.
        """
        ours = asyncio.current_task() in self._settling
        if self._over or (ours and pending not in self._pending):
            settling.close()
        else:
            self.start(settling)

    def _tell(self, event: Event, exc: Exception) -> None:
        if isinstance(exc, StoreError):  # it names the store
            self._record.about(Kind.STORE_ERROR, event, detail=str(exc))
        else:
            detail = f"{self._store.store.name}: {exc}"
            self._record.about(Kind.STORE_ERROR, event, detail=detail, error=exc)
