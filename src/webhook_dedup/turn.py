"""One turn of an accepted delivery: claim its event, run the handler, settle both."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from .coalesce import InboxCoalescer
from .engine import Engine, Run
from .errors import LeaseLost, StoreError
from .lease import LeaseKeeper
from .model import Attempt, Bid, Claim, Event, Item, new_token
from .observe.record import Kind, Reason, about, skip
from .observe.recorder import Recorder
from .policy import Policy
from .siblings import Siblings
from .verdict import Ending, Verdict, judge

__all__ = ["Job", "Tools", "Turn", "bid_for"]

logger = logging.getLogger("webhook_dedup")

STORE_AWAY_WAIT = 5.0
SHORTEST_DEFERRAL = 0.05


@dataclass(frozen=True, slots=True)
class Job:
    """What an item asks to be run.

    Attributes:
        event: The event the item's delivery announces.
        policy: How it is treated.
        ttl: Seconds the event is remembered once done.
        work: Runs the handler and returns its HTTP status.
    """

    event: Event
    policy: Policy
    ttl: float
    work: Callable[[], Awaitable[int]]


def bid_for(job: Job, row: str) -> Bid:
    """Make the bid for a job's event; its token names the row, so that the row knows its own."""
    return Bid(str(job.event.key), new_token(row), job.policy.lease, job.event.fingerprint)


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
    """

    engine: Engine
    inbox: InboxCoalescer
    record: Recorder
    rows: LeaseKeeper[Item]
    siblings: Siblings
    wake: Callable[[], None]


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

    async def run(self, claimed: tuple[Claim, float] | None = None) -> None:
        """Claim, unless that was done, and go on by the answer."""
        await self._guard(self._run(claimed))

    async def postpone(self, claimed: tuple[Claim, float] | None = None) -> None:
        """Leave the item in the inbox until there is room to run it."""
        await self._guard(self._postpone(claimed))

    async def _guard(self, work: Awaitable[None]) -> None:
        """Let no fault out: the item stays and comes due again."""
        try:
            await work
        except StoreError as exc:
            self._tell(Kind.STORE_ERROR, detail=str(exc), error=exc)
        except Exception:
            logger.exception("inbox item %s stays and will come due again", self._item.id)

    async def _postpone(self, claimed: tuple[Claim, float] | None) -> None:
        if claimed is not None and claimed[0].fresh:
            await self._release(claimed[0])
        await self._defer(0.0)

    async def _run(self, claimed: tuple[Claim, float] | None) -> None:
        if self._job.event.key is None:
            return await self._handle(None, monotonic())
        try:
            # Held, so that a claim that waits long does not let the item come due meanwhile.
            with self._tools.rows.hold(self._item, self._lease, _no_matter, sent=monotonic()):
                bid = bid_for(self._job, self._item.id)
                claim, sent = claimed or await self._tools.engine.claim(bid)
        except StoreError as exc:
            return await self._store_away(exc)
        if claim.fresh:
            return await self._hold(claim, sent)
        if self._job.policy.observe_only:
            self._skip(Kind.SKIPPED, claim, detail="observed only, run anyway")
            return await self._handle(None, sent)
        if claim.done:
            return await self._close_duplicate(claim)
        return await self._wait_for_holder(claim, sent)

    async def _store_away(self, exc: StoreError) -> None:
        if self._job.policy.on_store_error == "process":
            self._tell(Kind.STORE_ERROR, detail=f"run without a claim: {exc}", warning=True)
            return await self._handle(None, monotonic())
        if not self._item.deferred:
            away = Reason.STORE_AWAY.value
            delay = STORE_AWAY_WAIT
            self._tell(Kind.DEFERRED, reason=away, detail=str(exc), delay=delay, warning=True)
        return await self._defer(STORE_AWAY_WAIT)

    async def _close_duplicate(self, claim: Claim) -> None:
        """End an item whose event is done. Only here does a claim's answer end an item."""
        await self._tools.inbox.done(self._item)
        own = claim.holder is not None and claim.holder.partition(".")[0] == self._item.id
        if own:
            self._tell(Kind.RECOVERED, first_seen=claim.first_seen)
        else:
            self._skip(Kind.SKIPPED, claim)

    async def _wait_for_holder(self, claim: Claim, sent: float) -> None:
        """Let the item wait until the holder of its key must have ended. It is never dropped."""
        waits = self._tools.siblings.wait(claim.key, self._item, sent)
        delay = max(claim.remaining, SHORTEST_DEFERRAL) if waits else 0.0
        if not self._item.deferred:
            self._skip(Kind.DEFERRED, claim, delay=delay)
        await self._defer(delay)

    async def _hold(self, claim: Claim, sent: float) -> None:
        siblings = self._tools.siblings
        siblings.began(claim.key)
        try:
            await self._handle(claim, sent)
        finally:
            for item in siblings.ended(claim.key):
                await self._defer(0.0, item)

    async def _handle(self, claim: Claim | None, sent: float) -> None:
        """Run the handler, then settle claim and item by how it ended."""
        if self._item.attempts >= self._job.policy.retries.attempts:
            return await self._give_up(claim)
        if not await self._begin(claim):
            return None
        self._tell(Kind.STARTED, attempt=self._number)
        # The item is kept from coming due until its claim is complete, however long that takes.
        with self._tools.rows.hold(self._item, self._lease, _no_matter, sent=sent):
            run = await self._tools.engine.run(
                self._job.work,
                claim,
                lease=self._job.policy.lease,
                sent=sent,
                timeout=self._job.policy.handler_timeout,
            )
            verdict = judge(run.error, run.value)
            completed = verdict.done and await self._complete(claim)
        if verdict.done:
            await self._finish(verdict, run, completed=completed)
        elif run.cancelled:
            await self._hand_back(claim)
        else:
            await self._fail(verdict, run, claim)
        if run.cancelled:
            raise asyncio.CancelledError
        return None

    async def _give_up(self, claim: Claim | None) -> None:
        """Run an item no more whose attempts all began and, it seems, took their process along."""
        await self._release(claim)
        await self._bury(Verdict(Ending.BURY, "its attempts are used up, and the last did not end"))

    async def _begin(self, claim: Claim | None) -> bool:
        """Count the attempt. An item that another process has taken meanwhile is left to it."""
        begun = False
        try:
            begun = await self._tools.inbox.begin(self._item)
        finally:
            if not begun:
                await self._release(claim)
        return begun

    async def _complete(self, claim: Claim | None) -> bool:
        if claim is None:
            return True
        job = self._job
        return bool(await self._tools.engine.complete(job.event, claim, job.ttl))

    async def _finish(self, verdict: Verdict, run: Run, *, completed: bool) -> None:
        if not completed:
            # Another token holds or has finished the event, or the store never answered: the item
            # stays, and ends as a duplicate or runs again.
            detail = "the handler succeeded, but its claim could not be completed"
            self._tell_end(Kind.LEASE_LOST, verdict, detail=detail)
            return
        await self._tools.inbox.done(self._item)
        if verdict.ending is Ending.DISCARD:
            discarded = Reason.DISCARDED.value
            self._tell_end(Kind.SKIPPED, verdict, reason=discarded, detail=verdict.detail)
        else:
            self._tell_end(Kind.SUCCEEDED, verdict, duration=run.duration)

    async def _hand_back(self, claim: Claim | None) -> None:
        """Shutdown cut the handler off: give the event back at once, uncounted."""
        await self._release(claim)
        await self._defer(0.0)
        self._tell(Kind.DEFERRED, attempt=self._number, detail="cut off by shutdown", delay=0.0)

    async def _fail(self, verdict: Verdict, run: Run, claim: Claim | None) -> None:
        lost = isinstance(verdict.error, LeaseLost)
        if not lost:
            await self._release(claim)
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

    async def _release(self, claim: Claim | None) -> None:
        if claim is not None:
            await self._tools.engine.release(self._job.event, claim)

    async def _defer(self, delay: float, item: Item | None = None) -> None:
        await self._tools.inbox.inbox.defer(item or self._item, delay)
        self._tools.wake()

    def _tell(self, kind: Kind, **fields: Any) -> None:
        self._tools.record(about(kind, self._job.event, **fields))

    def _tell_end(self, kind: Kind, verdict: Verdict, **fields: Any) -> None:
        self._tell(kind, attempt=self._number, status=verdict.status, **fields)

    def _skip(self, kind: Kind, claim: Claim, **fields: Any) -> None:
        self._tools.record(skip(kind, self._job.event, claim, **fields))


def _attempt(verdict: Verdict, duration: float) -> Attempt:
    where = f"{socket.gethostname()}:{os.getpid()}"
    return Attempt(time.time() - duration, where, duration, verdict.detail)


def _no_matter() -> None:
    """Do nothing about an item whose lease is lost: its claim decides who runs."""
