"""Claim, run under a renewed lease, settle. Both doors, middleware and decorator, come here."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from time import monotonic
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from .coalesce import Coalescer
from .errors import HandlerTimeout, LeaseLost, StoreError, out_of_group
from .lease import Held, LeaseKeeper
from .model import Bid, Claim, Event, Settlement
from .observe.record import Kind
from .observe.recorder import Recorder
from .settling import SLACK, Debtor, Later, Owed
from .threads import call, outlast

__all__ = ["Engine", "Run", "call"]

T = TypeVar("T")
S = TypeVar("S")

FIRST_WAIT = 0.05
LONGEST_WAIT = 5.0
LAST_WAIT = 1.0  # while a process that ends is held up


class Run(Struct):
    """How one run of a handler ended.

    Attributes:
        value: What the handler returned, when ``error`` is ``None``.
        error: What it raised; :class:`LeaseLost` when it was cancelled because its claim was lost,
            :class:`HandlerTimeout` when it was cancelled because it took too long.
        duration: Seconds it ran.
        cancelled: The caller was cancelled meanwhile. It must settle the claim by what ``error``
            says, as always, and then raise ``CancelledError``. Without a task of its own a run
            cannot tell this from a handler that raised ``CancelledError``.
        lost: The claims whose leases were lost.
    """

    value: Any
    error: BaseException | None
    duration: float
    cancelled: bool = False
    lost: tuple[Claim, ...] = ()


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
        self._settling: set[asyncio.Task[Any]] = set()
        self._owed: set[Owed] = set()
        self._debtor = Debtor(self.settle_up)
        self._draining = asyncio.Event()
        self._over = False
        self._loop = asyncio.get_running_loop()  # kept: to ask costs a system call before 3.12

    async def claim(self, bid: Bid) -> tuple[Claim, float]:
        """Bid for a key. Return the claim and the monotonic time at which the bid was sent."""
        sent = monotonic()
        return await self.store.claim(bid), sent

    async def claim_all(self, bids: Sequence[Bid]) -> tuple[Sequence[Claim], float]:
        """Bid for several keys; see :meth:`claim`. When one has no answer, none stays held."""
        sent = monotonic()
        if len(bids) <= 1:
            return [await self.store.claim(bid) for bid in bids], sent
        asking = [asyncio.ensure_future(self.store.claim(bid)) for bid in bids]
        try:
            await asyncio.wait(asking)
            return [task.result() for task in asking], sent
        except BaseException:
            for task in asking:
                task.cancel()
            self._give_back(asking)
            raise

    def _give_back(self, asked: Iterable[asyncio.Future[Claim]]) -> None:
        """Release what was granted and is not wanted any more, in the background."""
        for task in asked:
            # One that is not done yet was just cancelled, and the coalescer gives back its claim.
            answered = task.done() and not task.cancelled() and task.exception() is None
            if answered and task.result().fresh:
                self.start(self._let_go(task.result()))

    async def _let_go(self, claim: Claim) -> None:
        with contextlib.suppress(StoreError):  # the lease ends what the store cannot
            await self.store.release(claim)

    def hold(
        self, claim: Claim, lease: float, on_lost: Callable[[], object], *, sent: float
    ) -> Held[Claim]:
        """Renew a claim until it is dropped; see :meth:`LeaseKeeper.hold`."""
        return self._keeper.hold(claim, lease, on_lost, sent=sent)

    async def run(
        self,
        work: Callable[[], Awaitable[T]],
        claim: Claim | None,
        *,
        lease: float,
        sent: float,
        timeout: float | None = None,
        on_cut: Callable[[], object] | None = None,
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
            on_cut: Called when the work is cancelled; cleaning up, it may go on for a while.
        """
        claims = () if claim is None else (claim,)
        return await self.run_under(
            claims, work, lease=lease, sent=sent, timeout=timeout, on_cut=on_cut
        )

    def run_under(
        self,
        claims: Sequence[Claim],
        work: Callable[..., Awaitable[T]],
        *args: Any,
        lease: float,
        sent: float,
        timeout: float | None = None,
        on_cut: Callable[[], object] | None = None,
        apart: bool = True,
    ) -> Coroutine[Any, Any, Run]:
        """Run ``work`` with ``args`` under any number of claims; see :meth:`run`.

        It gets a task of its own (``apart``), because others may cancel the caller's; a task that
        was made for this run needs none.
        """
        running = self._run(claims, work, args, lease, sent, timeout, on_cut)
        return _apart(running, on_cut) if apart else running

    async def _run(
        self,
        claims: Sequence[Claim],
        work: Callable[..., Awaitable[T]],
        args: Sequence[Any],
        lease: float,
        sent: float,
        timeout: float | None,
        on_cut: Callable[[], object] | None,
    ) -> Run:
        began = monotonic()
        if claims and began >= sent + lease:  # as after a handler that blocked the event loop
            late = LeaseLost("the claim ran out before its handler began")
            return Run(None, late, 0.0, lost=tuple(claims))
        cut = _Cut(asyncio.current_task(self._loop), on_cut)
        held = [self._keeper.hold(claim, lease, cut, sent=sent) for claim in claims]
        alarm = timeout and self._loop.call_later(timeout, cut.time_out)
        value = error = None
        try:
            value = await work(*args)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as exc:  # noqa: BLE001 - the caller judges it
            error = out_of_group(exc)
        finally:
            for one in held:
                one.drop()
            if alarm:
                alarm.cancel()
        duration = monotonic() - began
        lost = tuple([one.thing for one in held if one.lost])
        cancelled = False
        if error is not None and lost:
            error = LeaseLost("the claim ran out while its handler was running")
        elif error is not None and cut.late:
            error = HandlerTimeout("the handler took longer than its handler_timeout")
        else:
            cancelled = isinstance(error, asyncio.CancelledError)
        return Run(value, error, duration, cancelled, lost)

    def complete(
        self,
        event: Event,
        claim: Claim,
        ttl: float,
        result: bytes | None = None,
        *,
        patience: float | None = None,
        lease: float = 0.0,
        later: Later | None = None,
    ) -> Coroutine[Any, Any, bool | None]:
        """Mark a claim done, asking again for as long as the store is away.

        A caller that is cancelled leaves the settlement to the background, until drain.

        Args:
            event: What the claim is for.
            claim: The held claim.
            ttl: Seconds to remember it.
            result: What duplicates are answered with.
            patience: Seconds to wait for it here, ``None`` for as long as it takes. What is not
                settled by then goes on in the background until drain.
            lease: Seconds of the claim's lease. A drain waits for the store for as long as it may
                hold, since nothing else would keep the event from being run again.
            later: Called with what is returned, when the caller's patience has ended or it was
                cancelled before the store said so. ``None`` was recorded then.

        Returns:
            True when this claim is done, False when another token holds or finished the key,
            ``None`` when the store has not said.
        """
        self._keeper.drop(claim)  # it may be settled inside its own run
        settlement = Settlement(claim, ttl, result)
        if patience is None:
            return self._complete(event, settlement)
        owed = Owed(event, settlement, monotonic() + lease if lease else 0.0, later)
        return self._complete_within(patience, owed)

    def release(self, event: Event, claim: Claim) -> Coroutine[Any, Any, bool | None]:
        """Make a held claim absent. Asked once: when the store is away, the lease ends the claim.

        Returns:
            As :meth:`complete`.
        """
        self._keeper.drop(claim)  # it may be settled inside its own run
        return self._release(event, claim)

    async def drain(self, timeout: float) -> None:
        """Wait for what is under way, stop renewing.

        Stores that are away are asked no more, except for completions whose leases may still hold.
        """
        await self._end_settlements(timeout)
        await self._keeper.aclose()

    async def settle_up(self) -> None:
        """Wait for completions for as long as their leases may hold."""
        if self._owed:
            longest = max(owed.until for owed in self._owed) - monotonic()
            await self._end_settlements(max(0.0, longest) + SLACK)

    async def _end_settlements(self, timeout: float) -> None:
        self._draining.set()
        ending = [*self._settling, asyncio.ensure_future(self.store.drain())]
        _, late = await asyncio.wait(ending, timeout=timeout)
        self._over = True
        for task in late:
            task.cancel()
        for owed in list(self._owed):
            self._give_up(owed)

    async def _complete_within(self, patience: float, owed: Owed) -> bool | None:
        """Wait for a settlement for some seconds; it goes on, whatever becomes of the caller."""
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

    def _leave(self, owed: Owed) -> None:
        owed.leave()
        if owed in self._owed:
            self._debtor.owe(owed.until)

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

    async def _complete(self, event: Event, settlement: Settlement) -> bool | None:
        try:
            return await self._ask(event, settlement)
        except asyncio.CancelledError:
            self._take_over(self._complete(event, settlement))
            raise

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
        wait = FIRST_WAIT
        while True:
            try:
                return await self.store.complete(settlement)
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
            wait = min(wait * 2, LONGEST_WAIT)

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

    async def _release(self, event: Event, claim: Claim) -> bool | None:
        try:
            return await self.store.release(claim)
        except asyncio.CancelledError:
            self._take_over(self._release(event, claim))
            raise
        except Exception as exc:  # noqa: BLE001 - the lease ends what the store cannot
            self._tell(event, exc)
            return None

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
        detail = f"{self.store.store.name}: {exc}"
        self._record.about(Kind.STORE_ERROR, event, detail=detail, error=unforeseen)


class _Cut:
    """Cancels a task, once.

    Several claims may be lost together, and another cancellation would cut off the cleaning up
    after the first.
    """

    __slots__ = ("_made", "_on_cut", "_task", "late")

    def __init__(self, task: asyncio.Task[Any] | None, on_cut: Callable[[], object] | None) -> None:
        self._task = task
        self._on_cut = on_cut
        self._made = False
        self.late = False

    def __call__(self) -> None:
        """Cancel the task, unless that was done."""
        if not self._made and self._task is not None:
            self._made = True
            self._task.cancel()
            if self._on_cut is not None:
                self._on_cut()

    def time_out(self) -> None:
        """Cancel the task because its time is up."""
        self.late = True
        self()


async def _apart(running: Coroutine[Any, Any, Run], on_cut: Callable[[], object] | None) -> Run:
    """Run in a task of its own and wait for its true end, cancelling it when the caller is.

    One that outlives its cancellation, because a thread of its runs on, is waited for.
    """
    task = asyncio.create_task(running)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError as exc:
        task.cancel()
        if on_cut is not None:
            on_cut()
        await outlast(task)
        if task.cancelled():  # before it began
            return Run(None, exc, 0.0, cancelled=True)
        return replace(_run_of(task), cancelled=True)
    return replace(_run_of(task), cancelled=False)


def _run_of(task: asyncio.Task[Run]) -> Run:
    """Return how a run ended. What ends an event loop has ended its task, and is an error here."""
    error = task.exception()
    return task.result() if error is None else Run(None, error, 0.0)
