"""One turn of an accepted delivery: claim its event, run the handler, settle both."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from .coalesce import InboxCoalescer
from .engine import Engine, Run
from .errors import LeaseLost, StoreError
from .holding import Holding, Job, Standing, stand
from .lease import LeaseKeeper
from .model import Attempt, Claim, Event, Item
from .observe.record import Kind, Reason, skip
from .observe.recorder import Recorder
from .siblings import Siblings
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
        siblings: Items that wait for another one of the same key.
        wake: Called when an item may come due sooner than was known.
        ending: Whether turns are being cancelled, because the process shuts down.
    """

    engine: Engine
    inbox: InboxCoalescer
    record: Recorder
    rows: LeaseKeeper[Item]
    siblings: Siblings
    wake: Callable[[], None]
    ending: Callable[[], bool]


class Turn:
    """One item from its claim to its settlement.

    Args:
        tools: See :class:`Tools`.
        item: What was accepted, held by its token.
        job: What it asks to be run.
        lease: Seconds the item is held for.
    """

    def __init__(self, tools: Tools, item: Item, job: Job, lease: float) -> None:
        self._tools = tools
        self._item = item
        self._job = job
        self._lease = lease
        self._number = item.attempts + 1

    async def run(self, standing: Standing | None = None) -> None:
        """Claim, unless that was done, and go on by the answers."""
        await self._guard(self._run(standing))

    async def postpone(self, standing: Standing | None = None) -> None:
        """Leave the item in the inbox until there is room to run it."""
        await self._guard(self._postpone(standing))

    async def _guard(self, work: Awaitable[None]) -> None:
        """Let no fault out: the item stays and comes due again."""
        try:
            await work
        except StoreError as exc:
            self._tell(Kind.STORE_ERROR, detail=str(exc), error=exc)
        except Exception:
            logger.exception("inbox item %s stays and will come due again", self._item.id)

    async def _postpone(self, standing: Standing | None) -> None:
        if standing is not None:
            await self._hold(standing).release()
        await self._defer(0.0)

    async def _run(self, standing: Standing | None) -> None:
        if standing is None:
            try:
                standing = await self._stand()
            except StoreError as exc:
                return await self._store_away(exc)
        if self._job.policy.observe_only:
            standing = standing.observed(self._tools.record)
        if not standing.to_run and not standing.elsewhere:
            await self._tools.inbox.done(self._item)  # only here do claims' answers end an item
        for event, claim in standing.done:
            self._tell_done(event, claim)
        if standing.to_run:
            return await self._handle_among_siblings(standing)
        if standing.elsewhere:
            return await self._wait_for_holders(standing)
        return None

    async def _stand(self) -> Standing:
        # Held, so that a claim that waits long does not let the item come due meanwhile.
        with self._tools.rows.hold(self._item, self._lease, _no_matter, sent=monotonic()):
            return await stand(self._tools.engine, self._job, self._item.id)

    async def _store_away(self, exc: StoreError) -> None:
        if self._job.policy.on_store_error == "process":
            self._tell(Kind.STORE_ERROR, detail=f"run without a claim: {exc}", warning=True)
            return await self._handle(Standing.unclaimed(self._job, monotonic()))
        if not self._item.deferred:
            away = Reason.STORE_AWAY.value
            delay = STORE_AWAY_WAIT
            self._tell(Kind.DEFERRED, reason=away, detail=str(exc), delay=delay, warning=True)
        return await self._defer(STORE_AWAY_WAIT)

    def _tell_done(self, event: Event, claim: Claim) -> None:
        """Record an event that is done, unless an earlier run of this item told of it."""
        own = claim.holder is not None and claim.holder.partition(".")[0] == self._item.id
        cut_off = self._item.attempts > len(self._item.history)
        if not own:
            self._tools.record(skip(Kind.SKIPPED, event, claim))
        elif cut_off or not self._job.event.items:
            self._tools.record.about(Kind.RECOVERED, event, first_seen=claim.first_seen)

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

    async def _handle_among_siblings(self, standing: Standing) -> None:
        siblings = self._tools.siblings
        keys = [claim.key for _, claim in standing.granted]
        for key in keys:
            siblings.began(key)
        try:
            await self._handle(standing)
        finally:
            waiting = {item.id: item for key in keys for item in siblings.ended(key)}
            for item in waiting.values():
                await self._defer(0.0, item)

    async def _handle(self, standing: Standing) -> None:
        """Run the handler, then settle claims and item by how it ended."""
        holding = self._hold(standing)
        if self._item.attempts >= self._job.policy.retries.attempts:
            return await self._give_up(holding)
        if not await self._begin(holding):
            return None
        self._tell(Kind.STARTED, attempt=self._number)
        # The item is kept from coming due until its claims are complete, however long that takes.
        with self._tools.rows.hold(self._item, self._lease, _no_matter, sent=standing.sent):
            run = await holding.run(self._job.work, apart=False)
            cut_off = run.cancelled and (self._tools.ending() or _is_cancelled())
            verdict = judge(run.error, run.value)
            completed = verdict.done and await holding.complete()
        if verdict.done and completed:
            await self._finish(verdict, run, holding.untold, standing)
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
        """Run an item no more whose attempts all began and, it seems, took their process along."""
        await holding.release()
        await self._bury(Verdict(Ending.BURY, "its attempts are used up, and the last did not end"))

    async def _begin(self, holding: Holding) -> bool:
        """Count the attempt. An item that another process has taken meanwhile is left to it."""
        begun = False
        try:
            begun = await self._tools.inbox.begin(self._item)
        finally:
            if not begun:
                await holding.release()
        return begun

    async def _finish(
        self, verdict: Verdict, run: Run, events: Sequence[Event], standing: Standing
    ) -> None:
        if standing.elsewhere:
            await self._wait_for_holders(standing, run.duration)
        else:
            await self._tools.inbox.done(self._item)
        ended: dict[str, Any] = {"attempt": self._number, "status": verdict.status}
        if verdict.ending is Ending.DISCARD:
            ended |= {"reason": verdict.reason, "detail": verdict.detail}
        else:
            ended |= {"duration": run.duration}
        kind = Kind.SKIPPED if verdict.ending is Ending.DISCARD else Kind.SUCCEEDED
        for event in events:
            self._tools.record.about(kind, event, **ended)

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
            await self._defer(delay)
            self._tell_end(Kind.DEFERRED, verdict, detail=verdict.detail, delay=delay)
            return
        kind, error = (Kind.LEASE_LOST, None) if lost else (Kind.FAILED, verdict.error)
        self._tell_end(kind, verdict, duration=run.duration, detail=verdict.detail, error=error)
        if verdict.ending is Ending.BURY or self._number >= self._job.policy.retries.attempts:
            await self._bury(verdict, run.duration)
        else:
            await self._retry(verdict, run.duration)

    async def _bury(self, verdict: Verdict, duration: float = 0.0) -> None:
        if await self._tools.inbox.inbox.bury(self._item, _attempt(verdict, duration)):
            self._tell_end(Kind.BURIED, verdict, detail=verdict.detail)

    async def _retry(self, verdict: Verdict, duration: float) -> None:
        delay = verdict.after
        if delay is None:
            delay = self._job.policy.retries.wait(self._number)
        if await self._tools.inbox.inbox.retry(self._item, delay, _attempt(verdict, duration)):
            self._tell_end(Kind.RETRIED, verdict, delay=delay)
        self._tools.wake()

    async def _defer(self, delay: float, item: Item | None = None) -> None:
        await self._tools.inbox.inbox.defer(item or self._item, delay)
        self._tools.wake()

    def _tell(self, kind: Kind, **fields: Any) -> None:
        self._tools.record.about(kind, self._job.event, **fields)

    def _tell_end(self, kind: Kind, verdict: Verdict, **fields: Any) -> None:
        fields = {"status": verdict.status, "reason": verdict.reason, **fields}
        self._tell(kind, attempt=self._number, **fields)


def _is_cancelled() -> bool:
    """Whether somebody has cancelled this turn, such as a loop that ends without a drain.

    Before Python 3.11 this cannot be told from a handler that raises ``CancelledError``.
    """
    task: Any = asyncio.current_task()
    return hasattr(task, "cancelling") and task.cancelling() > 0


def _attempt(verdict: Verdict, duration: float) -> Attempt:
    where = f"{socket.gethostname()}:{os.getpid()}"
    return Attempt(time.time() - duration, where, duration, verdict.detail)


def _no_matter() -> None:
    """Do nothing about an item whose lease is lost: its claim decides who runs."""
