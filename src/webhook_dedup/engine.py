"""Claim, run under a renewed lease, settle. Both doors, middleware and decorator, come here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from time import monotonic
from typing import Any, TypeVar

from .coalesce import Coalescer
from .errors import HandlerTimeout, LeaseLost, out_of_group
from .lease import Held, LeaseKeeper
from .model import Bid, Claim, Event, Settlement
from .observe.recorder import Recorder
from .run import Cut, Run, run_apart
from .settling import Settler
from .stores.seen import SeenCache
from .unconfirmed import Later, PendingCompletion

__all__ = ["Engine"]

T = TypeVar("T")


class Engine:
    """Runs handlers under claims and settles the claims.

    Args:
        store: Where claims are made.
        record: Takes a record of each store failure that a settlement meets.
        seen: The cache in front of the store, if there is one.

    Attributes:
        store: Where claims are made.
        settler: Settles claims that are renewed no more.
    """

    def __init__(self, store: Coalescer, record: Recorder, seen: SeenCache | None = None) -> None:
        self.store = store
        self._seen = seen
        self.settler = Settler(store, record)
        self._keeper: LeaseKeeper[Claim] = LeaseKeeper(store.renew, lambda claim: claim.key)
        self._loop = asyncio.get_running_loop()  # kept: to ask costs a system call before 3.12

    async def claim(self, bid: Bid) -> tuple[Claim, float]:
        """Bid for a key. Return the claim and the monotonic time at which the bid was sent."""
        sent = monotonic()
        return await self.store.claim(bid), sent

    async def claim_anew(self, bid: Bid) -> tuple[Claim, float]:
        """Bid as :meth:`claim` does, but have the store itself answer."""
        if self._seen is not None:
            self._seen.doubt(bid.key)
        return await self.claim(bid)

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
        """Release what was granted and is not wanted any more."""
        for task in asked:
            # One that is not done yet was just cancelled, and the coalescer gives back its claim.
            answered = task.done() and not task.cancelled() and task.exception() is None
            if answered and task.result().fresh:
                self.store.give_back(task.result())

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
        return run_apart(running, on_cut) if apart else running

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
        cut = Cut(asyncio.current_task(self._loop), on_cut)
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
        if error is None:
            return Run(value, None, duration, lost=lost)
        if lost:
            error = LeaseLost("the claim ran out while its handler was running")
        elif cut.late:
            error = HandlerTimeout("the handler took longer than its handler_timeout")
        return Run(None, error, duration, isinstance(error, asyncio.CancelledError), lost)

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
            return self.settler.complete(event, settlement)
        pending = PendingCompletion(event, settlement, monotonic() + lease if lease else 0.0, later)
        return self.settler.complete_within(patience, pending)

    def release(self, event: Event, claim: Claim) -> Coroutine[Any, Any, bool | None]:
        """Make a claim absent, after its run. Asked once: if the store is away, its lease ends it.

        Returns:
            As :meth:`complete`.
        """
        return self.settler.release(event, claim)

    async def drain(self, timeout: float) -> None:
        """Wait for what is under way, stop renewing.

        Stores that are away are asked no more, except for completions whose leases may still hold.
        """
        await self.settler.drain(timeout)
        await self._keeper.aclose()
