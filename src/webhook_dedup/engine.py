"""Claim, run under a renewed lease, settle. Both doors, middleware and decorator, come here."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import os
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

from .coalesce import Coalescer
from .errors import LeaseLost, StoreError
from .lease import LeaseKeeper
from .model import Bid, Claim, Event, Settlement
from .observe.record import Kind, about
from .observe.recorder import Recorder

__all__ = ["Engine", "Run", "call"]

T = TypeVar("T")

FIRST_WAIT = 0.05
LONGEST_WAIT = 5.0
THREADS = 40


@dataclass(frozen=True, slots=True)
class Run:
    """How one run of a handler ended.

    Attributes:
        value: What the handler returned, when ``error`` is ``None``.
        error: What it raised; :class:`LeaseLost` when it was cancelled because its claim was lost,
            ``TimeoutError`` when it was cancelled because it took too long.
        duration: Seconds it ran.
        cancelled: The caller was cancelled meanwhile. It must settle the claim by what ``error``
            says, as always, and then raise ``CancelledError``.
    """

    value: Any
    error: BaseException | None
    duration: float
    cancelled: bool = False


class Engine:
    """Runs handlers under claims and settles the claims.

    Args:
        store: Where claims are made.
        record: Takes a record of each store failure that a settlement meets.
    """

    def __init__(self, store: Coalescer, record: Recorder) -> None:
        self.store = store
        self._record = record
        self._keeper: LeaseKeeper[Claim] = LeaseKeeper(store.renew, lambda claim: claim.key)
        self._settling: set[asyncio.Task[bool | None]] = set()
        self._draining = asyncio.Event()

    async def claim(self, bid: Bid) -> tuple[Claim, float]:
        """Bid for a key. Return the claim and the monotonic time at which the bid was sent."""
        sent = monotonic()
        return await self.store.claim(bid), sent

    async def run(
        self,
        work: Callable[[], Awaitable[T]],
        claim: Claim | None,
        *,
        lease: float,
        sent: float,
        timeout: float | None = None,
    ) -> Run:
        """Run ``work`` to its true end, while the lease of ``claim`` is renewed.

        The claim is not settled here: the caller judges the run, then completes or releases.

        Args:
            work: Called once. It is cancelled when the claim is lost or the time is up; a thread
                it waits for keeps its lease renewed until the thread has ended.
            claim: A FRESH claim, or ``None`` to run without one.
            lease: Seconds of the claim's lease.
            sent: Monotonic time at which the bid was sent.
            timeout: Seconds the work may take.
        """
        began = monotonic()
        task = asyncio.ensure_future(_started(work))
        if claim is None:
            timed_out, cancelled = await _end(task, timeout)
            lost = False
        else:
            with self._keeper.hold(claim, lease, task.cancel, sent=sent) as held:
                timed_out, cancelled = await _end(task, timeout)
            lost = held.lost
        error = _error_of(task, timed_out=timed_out, lost=lost)
        value = task.result() if error is None else None
        return Run(value, error, monotonic() - began, cancelled)

    async def complete(
        self,
        event: Event,
        claim: Claim,
        ttl: float,
        result: bytes | None = None,
        *,
        patience: float | None = None,
    ) -> bool | None:
        """Mark a claim done, asking again for as long as the store is away.

        Args:
            event: What the claim is for.
            claim: The held claim.
            ttl: Seconds to remember it.
            result: What duplicates are answered with.
            patience: Seconds to wait for it here, ``None`` for as long as it takes. What is not
                settled by then goes on in the background until drain.

        Returns:
            True when this claim is done, False when another token holds or finished the key,
            ``None`` when the store has not said.
        """
        self._keeper.drop(claim)  # it may be settled inside its own run
        settlement = Settlement(claim, ttl, result)
        return await self._settle(self._until_complete(event, settlement), patience)

    async def release(self, event: Event, claim: Claim) -> bool | None:
        """Make a held claim absent. Asked once: when the store is away, the lease ends the claim.

        Returns:
            As :meth:`complete`.
        """
        self._keeper.drop(claim)  # it may be settled inside its own run
        return await self._settle(self._release(event, claim), None)

    async def drain(self, timeout: float) -> None:
        """Stop asking stores that are away, wait for what is under way, stop renewing."""
        self._draining.set()
        ending = [*self._settling, asyncio.ensure_future(self.store.drain())]
        _, late = await asyncio.wait(ending, timeout=timeout)
        for task in late:
            task.cancel()
        await self._keeper.aclose()

    async def _settle(
        self, settling: Coroutine[Any, Any, bool | None], patience: float | None
    ) -> bool | None:
        # A task of its own, because the caller may be cancelled and the settlement must not be.
        task = asyncio.ensure_future(settling)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        done, _ = await asyncio.wait([task], timeout=patience)
        return task.result() if done else None

    async def _until_complete(self, event: Event, settlement: Settlement) -> bool | None:
        wait = FIRST_WAIT
        while True:
            try:
                return await self.store.complete(settlement)
            except Exception as exc:  # noqa: BLE001 - whatever fails, the handler has succeeded
                self._tell(event, exc)
            if self._draining.is_set():
                return None
            try:
                await asyncio.wait_for(self._draining.wait(), wait)
            except asyncio.TimeoutError:
                wait = min(wait * 2, LONGEST_WAIT)

    async def _release(self, event: Event, claim: Claim) -> bool | None:
        try:
            return await self.store.release(claim)
        except Exception as exc:  # noqa: BLE001 - the lease ends what the store cannot
            self._tell(event, exc)
            return None

    def _tell(self, event: Event, exc: Exception) -> None:
        unforeseen = None if isinstance(exc, StoreError) else exc
        detail = f"{self.store.store.name}: {exc}"
        self._record(about(Kind.STORE_ERROR, event, detail=detail, error=unforeseen))


async def _started(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


async def _end(task: asyncio.Task[Any], timeout: float | None) -> tuple[bool, bool]:
    """Wait for the true end of a task, cancelling it when the time is up or the caller is.

    A task that outlives its cancellation, because a thread of its runs on, is waited for.

    Returns:
        Whether the time was up, and whether the caller was cancelled.
    """
    timed_out = False
    try:
        done, _ = await asyncio.wait([task], timeout=timeout)
        if not done:
            timed_out = task.cancel()
            await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        await _outlast(task)
        return timed_out, True
    return timed_out, False


def _error_of(task: asyncio.Task[Any], *, timed_out: bool, lost: bool) -> BaseException | None:
    """Say what ended a task, ``None`` when it returned in spite of everything."""
    if not task.cancelled() and task.exception() is None:
        return None
    if lost:
        return LeaseLost("the claim ran out while its handler was running")
    if timed_out:
        return TimeoutError("the handler took longer than its handler_timeout")
    return asyncio.CancelledError() if task.cancelled() else task.exception()


async def _outlast(future: asyncio.Future[Any]) -> None:
    """Wait for a future however often the waiter is cancelled."""
    while not future.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([future])


@functools.cache
def _threads(pid: int) -> ThreadPoolExecutor:  # a forked child inherits no threads
    return ThreadPoolExecutor(THREADS, thread_name_prefix=f"webhook_dedup-{pid}")


async def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a handler: an ``async def`` here, a plain ``def`` in a thread.

    A thread cannot be stopped. When this call is cancelled after the thread has begun, it ends only
    when the thread has, and then with what the thread returned or raised: its effects have
    happened.
    """
    if inspect.iscoroutinefunction(function):
        return await function(*args, **kwargs)
    context = contextvars.copy_context()
    bound = functools.partial(context.run, _without_stop_iteration, function, *args, **kwargs)
    thread = _threads(os.getpid()).submit(bound)
    future = asyncio.wrap_future(thread)
    try:
        await asyncio.wait([future])
    except asyncio.CancelledError:
        if thread.cancel():  # it was still waiting for its turn
            raise
        await _outlast(future)
    value = future.result()
    return await value if inspect.isawaitable(value) else value


def _without_stop_iteration(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except StopIteration as exc:  # no future takes it, and its waiter would wait for ever
        raise RuntimeError("the handler raised StopIteration") from exc
