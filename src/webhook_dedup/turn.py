"""One turn of an accepted delivery: claim its event, run the handler, settle both."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass
from time import monotonic
from typing import Any

from .coalesce import InboxCoalescer
from .engine import Engine
from .errors import LeaseLost, StoreError, StoreUnavailable
from .holding import Holding
from .inbox.attempts import note
from .lease import LeaseKeeper
from .model import Attempt, Item
from .observe.record import Kind, Reason, skip
from .observe.recorder import Recorder
from .run import Run, cancellations
from .settling import FIRST_WAIT, LONGEST_SHARE, LONGEST_WAIT
from .siblings import Siblings
from .standing import Job, Standing, claim_events
from .verdict import Ending, Verdict, judge

__all__ = ["Tools", "Turn"]

logger = logging.getLogger("webhook_dedup")

STORE_AWAY_WAIT = 5.0
SHORTEST_DEFERRAL = 0.05


@dataclass(frozen=True, slots=True)
class Tools:
    """What all turns of a runner work with.

    Attributes:
        engine: Claims, runs and settles.
        inbox: Where the items live.
        record: Takes the records.
        rows: Keeps items from coming due while they are run.
        lease: Seconds an item is held for.
        siblings: Items that wait for another one of the same key.
        wake: Called when an item may come due sooner than was known.
        ending: Whether turns are being cancelled, because the process shuts down.
        ended: Called by each turn at its end.
    """

    engine: Engine
    inbox: InboxCoalescer
    record: Recorder
    rows: LeaseKeeper[Item]
    lease: float
    siblings: Siblings
    wake: Callable[[], None]
    ending: Callable[[], bool]
    ended: Callable[[], None]

    def expect(self, standing: Standing) -> None:
        """Let copies of what was granted wait for its run in this process, not for its lease."""
        for _, claim in standing.granted:
            self.siblings.began(claim.key)


class Turn:
    """One item from its claim to its settlement.

    Args:
        tools: See :class:`Tools`.
        item: What was accepted, held by its token.
        job: What it asks to be run.
    """

    __slots__ = ("_item", "_job", "_tools")

    def __init__(self, tools: Tools, item: Item, job: Job) -> None:
        self._tools = tools
        self._item = item
        self._job = job

    @property
    def _number(self) -> int:
        """Which run of the item's handler this is, from 1."""
        return self._item.attempts + 1

    async def run(self, standing: Standing | None = None, *, room: bool = True) -> None:
        """Claim, unless that was done, and go on by the answers.

        No fault gets out: the item stays and comes due again.

        Args:
            standing: How the claims were answered, if they were already made.
            room: Whether there is room to run it; else it is left in the inbox until there is.
        """
        try:
            if not room:
                await self._postpone(standing)
            elif standing is not None or (standing := await self._claim()) is not None:
                self._tools.expect(standing)
                try:
                    await self._go_on(standing)
                finally:
                    await self._wake_siblings(standing)
        except StoreError as exc:
            self._tell(Kind.STORE_ERROR, detail=str(exc), error=exc)
        except Exception:
            logger.exception("inbox item %s stays and will come due again", self._item.id)
        finally:
            self._tools.ended()

    async def _postpone(self, standing: Standing | None) -> None:
        if standing is not None:
            try:
                await self._hold(standing).release()
            finally:
                await self._wake_siblings(standing)
        # Not deferred: that is a call for each item, and in a rush those calls would keep the
        # items that run from the inbox.
        await self._tools.inbox.let_go(self._item)
        self._tools.wake()

    async def _claim(self) -> Standing | None:
        """Claim. ``None`` when the store is away, and that was dealt with."""
        try:
            # Held, so that a claim that waits long does not let the item come due meanwhile.
            with self._tools.rows.hold(self._item, self._tools.lease, _no_matter, sent=monotonic()):
                return await claim_events(self._tools.engine, self._job, self._item.id)
        except StoreError as exc:
            await self._store_away(exc)
            return None

    def _go_on(self, standing: Standing) -> Coroutine[Any, Any, None]:
        if self._job.policy.observe_only:
            standing = standing.observed(self._tools.record)
        if not standing.to_run and not standing.elsewhere:
            return self._close(standing)
        if not standing.to_run:  # it comes again, and tells then what is done
            return self._wait_for_holders(standing)
        self._tell_done(standing)
        return self._handle(standing)

    async def _close(self, standing: Standing) -> None:
        """End an item whose events are all done. Only here do claims' answers end one."""
        await self._tools.inbox.done(self._item)
        self._tell_done(standing)

    async def _store_away(self, exc: StoreError) -> None:
        if self._job.policy.on_store_error == "process":
            self._tell(Kind.STORE_ERROR, detail=f"run without a claim: {exc}", warning=True)
            return await self._handle(Standing.unclaimed(self._job, monotonic()))
        if not self._item.deferred:
            away = Reason.STORE_AWAY.value
            delay = STORE_AWAY_WAIT
            self._tell(Kind.DEFERRED, reason=away, detail=str(exc), delay=delay, warning=True)
        return await self._defer(STORE_AWAY_WAIT)

    def _tell_done(self, standing: Standing) -> None:
        """Record events that are done, unless an earlier run of this item told of them."""
        for event, claim in standing.done:
            own = claim.holder is not None and claim.holder.partition(".")[0] == self._item.id
            if not own:
                self._tools.record(skip(Kind.SKIPPED, event, claim))
            elif self._item.cut_off or not self._job.event.items:
                self._tools.record.about(Kind.RECOVERED, event, first_seen=claim.first_seen)

    async def _wake_siblings(self, standing: Standing) -> None:
        for item in self._waiting_siblings(standing):
            await self._defer(0.0, item)

    def _waiting_siblings(self, standing: Standing) -> Collection[Item]:
        """Return those that waited for the end of this run."""
        ended = self._tools.siblings.ended
        if len(standing.granted) == 1:
            return ended(standing.granted[0][1].key)
        waiting = {item.id: item for _, claim in standing.granted for item in ended(claim.key)}
        return waiting.values()

    async def _wait_for_holders(self, standing: Standing, elapsed: float = 0.0) -> None:
        """Let the item wait until the holders of its keys must have ended. It is never dropped."""
        siblings = self._tools.siblings
        claims = [claim for _, claim in standing.elsewhere]
        waits = [siblings.wait(claim.key, self._item, standing.sent) for claim in claims]
        left = max(claim.remaining for claim in claims) - elapsed
        delay = max(left, SHORTEST_DEFERRAL) if all(waits) else 0.0
        if not self._item.deferred:
            for event, claim in standing.elsewhere:
                self._tools.record(skip(Kind.DEFERRED, event, claim, delay=delay))
        await self._defer(delay)

    async def _handle(self, standing: Standing) -> None:
        """Run the handler, then settle claims and item by how it ended."""
        holding = self._hold(standing)
        if self._item.attempts >= self._job.policy.retries.attempts:
            return await self._give_up(holding)
        if not await self._begin(holding):
            return None
        self._tools.record.about(Kind.STARTED, self._job.event, attempt=self._number)
        # The item is kept from coming due until its claims are complete, however long that takes.
        held = self._tools.rows.hold(self._item, self._tools.lease, _no_matter, sent=standing.sent)
        try:
            run = await holding.run(self._job.work, apart=False)
            cut_off = run.cancelled and (self._tools.ending() or cancellations() > 0)
            verdict = judge(run.error, run.value)
            completed = verdict.done and await holding.complete()
        finally:
            held.drop()
        if verdict.done and completed:
            await self._finish(verdict, run, holding, standing)
        elif verdict.done:
            # Another token has an event, or the store never answered: the item stays, and ends as
            # a duplicate or runs again.
            detail = "the handler succeeded, but its claim could not be completed"
            self._tell_end(Kind.LEASE_LOST, verdict, detail=detail)
        elif cut_off:
            await self._hand_back(holding)
        else:
            await self._fail(verdict, run, holding)
        if cut_off:
            raise asyncio.CancelledError
        return None

    def _hold(self, standing: Standing) -> Holding:
        return Holding(self._tools.engine, self._tools.record, self._job, standing)

    async def _give_up(self, holding: Holding) -> None:
        """Bury an item whose attempts are used up: it seems that they took their process along."""
        await holding.release()
        await self._bury(Verdict(Ending.BURY, "its attempts are used up, and the last did not end"))

    async def _begin(self, holding: Holding) -> bool:
        """Count the attempt. An item that another process took meanwhile is left to that one."""
        begun = False
        try:
            begun = await self._tools.inbox.begin(self._item)
        finally:
            if not begun:
                await holding.release()
        return begun

    async def _finish(
        self, verdict: Verdict, run: Run, holding: Holding, standing: Standing
    ) -> None:
        try:
            if standing.elsewhere:
                await self._wait_for_holders(standing, run.duration)
            else:
                await self._tools.inbox.done(self._item)
        finally:  # whatever the inbox says: it may have removed the item, and none would tell of it
            self._tell_finish(verdict, run, holding)

    def _tell_finish(self, verdict: Verdict, run: Run, holding: Holding) -> None:
        number, status = self._number, verdict.status
        if verdict.ending is Ending.DISCARD:
            why = {"reason": verdict.reason, "detail": verdict.detail}
            holding.tell_each(Kind.SKIPPED, attempt=number, status=status, **why)
        else:
            holding.tell_each(Kind.SUCCEEDED, attempt=number, status=status, duration=run.duration)

    async def _hand_back(self, holding: Holding) -> None:
        """Shutdown cut the handler off: give the event back at once, uncounted."""
        await holding.release()
        await self._defer(0.0)
        self._tell(Kind.DEFERRED, attempt=self._number, detail="cut off by shutdown", delay=0.0)

    async def _fail(self, verdict: Verdict, run: Run, holding: Holding) -> None:
        lost = isinstance(verdict.error, LeaseLost)
        await holding.release(run.lost)
        if verdict.ending is Ending.WAIT:
            delay = max(verdict.after or 0.0, SHORTEST_DEFERRAL)
            await self._note(lambda: self._tools.inbox.inbox.defer(self._item, delay))
            self._tools.wake()
            self._tell_end(Kind.DEFERRED, verdict, detail=verdict.detail, delay=delay)
            return
        kind, error = (Kind.LEASE_LOST, None) if lost else (Kind.FAILED, verdict.error)
        self._tell_end(kind, verdict, duration=run.duration, detail=verdict.detail, error=error)
        if verdict.ending is Ending.BURY or self._number >= self._job.policy.retries.attempts:
            await self._bury(verdict, run.duration)
        else:
            await self._retry(verdict, run.duration)

    async def _bury(self, verdict: Verdict, duration: float = 0.0) -> None:
        inbox, attempt = self._tools.inbox.inbox, _attempt(verdict, duration)
        if await self._note(lambda: inbox.bury(self._item, attempt)):
            self._tell_end(Kind.BURIED, verdict, detail=verdict.detail)

    async def _retry(self, verdict: Verdict, duration: float) -> None:
        delay = verdict.after
        if delay is None:
            delay = self._job.policy.retries.wait(self._number)
        inbox, attempt = self._tools.inbox.inbox, _attempt(verdict, duration)
        if await self._note(lambda: inbox.retry(self._item, delay, attempt)):
            self._tell_end(Kind.RETRIED, verdict, delay=delay)
        self._tools.wake()

    async def _note(self, end: Callable[[], Awaitable[bool]]) -> bool:
        """Tell the inbox how a run ended, again and again while it is away, until drain.

        A run whose end it never hears of looks like one that took its process along.
        """
        try:
            return await end()
        except StoreUnavailable as exc:
            self._tell(Kind.STORE_ERROR, attempt=self._number, detail=str(exc))
        return await self._note_again(end)

    async def _note_again(self, end: Callable[[], Awaitable[bool]]) -> bool:
        wait, longest = FIRST_WAIT, min(LONGEST_WAIT, self._tools.lease * LONGEST_SHARE)
        while True:
            await asyncio.sleep(min(wait, longest))
            with contextlib.suppress(StoreUnavailable):
                return await end()
            wait *= 2

    async def _defer(self, delay: float, item: Item | None = None) -> None:
        await self._tools.inbox.inbox.defer(item or self._item, delay)
        self._tools.wake()

    def _tell(self, kind: Kind, **fields: Any) -> None:
        self._tools.record.about(kind, self._job.event, **fields)

    def _tell_end(self, kind: Kind, verdict: Verdict, **fields: Any) -> None:
        fields = {"status": verdict.status, "reason": verdict.reason, **fields}
        self._tell(kind, attempt=self._number, **fields)


def _attempt(verdict: Verdict, duration: float) -> Attempt:
    error = f"{verdict.detail}: {verdict.said}" if verdict.said else verdict.detail
    return note(error, duration)


def _no_matter() -> None:
    """Do nothing about an item whose lease is lost: its claim decides who runs."""
