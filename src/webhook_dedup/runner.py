"""Runs accepted deliveries: bounded concurrency, deferrals, retries, dead letters, drain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from .contracts import Inbox
from .engine import Engine
from .errors import LeaseLost, RejectedDelivery, StoreError
from .lease import LeaseKeeper
from .model import Bid, Claim, Event, Item, new_token
from .observe.record import Kind, Reason, Record, about, skip
from .observe.recorder import Recorder
from .policy import Policy
from .verdict import Ending, Verdict, judge

__all__ = ["Job", "Runner", "bid_for"]

logger = logging.getLogger("webhook_dedup")

POLL = 1.0
TAKE_AT_ONCE = 64
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


class Runner:
    """Takes items from an inbox and runs each event's handler under its claim.

    Args:
        engine: Claims, runs and settles.
        inbox: Where accepted deliveries live.
        jobs: Finds the job of an item.
        record: Takes the records.
        policy: Gives the lease of items, the number of runs at once and the drain time-out.
    """

    def __init__(
        self,
        engine: Engine,
        inbox: Inbox,
        jobs: Callable[[Item], Job],
        record: Recorder,
        policy: Policy,
    ) -> None:
        self._engine = engine
        self._inbox = inbox
        self._jobs = jobs
        self._record = record
        self._lease = policy.lease
        self._limit = policy.max_in_flight
        self._rows: LeaseKeeper[Item] = LeaseKeeper(inbox.renew, lambda item: item.id)
        self._runs: set[asyncio.Task[None]] = set()
        # Items of this process, by key and id, that wait for another holder of their key. When it
        # ends in this process too, they need not wait for the end of its lease.
        self._waiting: defaultdict[str, dict[str, Item]] = defaultdict(dict)
        self._wake = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether as many handlers run as may."""
        return len(self._runs) >= self._limit

    def start(self) -> None:
        """Begin to take items that come due."""
        self._loop = asyncio.ensure_future(self._take_due())

    async def accept(self, item: Item) -> None:
        """Record an item before its delivery is acknowledged.

        Raises:
            RejectedDelivery: It could not be recorded, or nothing durable holds it and too many
                handlers run; the sender is asked to come again.
        """
        if self.busy and not self._inbox.durable:
            raise RejectedDelivery(
                503, "overloaded", f"{self._limit} events are being handled", retry_after=1.0
            )
        try:
            await self._inbox.put(item, self._lease)
        except StoreError as exc:
            raise RejectedDelivery(
                503, "inbox_unavailable", "the delivery could not be recorded", retry_after=5.0
            ) from exc

    def run(
        self, item: Item, job: Job, claimed: tuple[Claim, float] | None = None
    ) -> asyncio.Task[None]:
        """Run an accepted item in a task of its own, with its claim if it was already made."""
        task = asyncio.ensure_future(self._run_guarded(item, job, claimed))
        self._runs.add(task)
        task.add_done_callback(self._ended)
        return task

    async def drain(self, timeout: float) -> None:
        """Take nothing new, let running handlers end, cancel and release what is left."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])
        if self._runs:
            await asyncio.wait(list(self._runs), timeout=timeout)
        left = list(self._runs)
        for task in left:
            task.cancel()
        if left:
            logger.warning("%d handlers were cancelled at shutdown", len(left))
            await asyncio.wait(left, timeout=1.0)
        await self._rows.aclose()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._runs.discard(task)
        self._wake.set()

    async def _take_due(self) -> None:
        while True:
            self._wake.clear()
            taken = 0
            try:
                taken = await self._take()
                wait = await self._inbox.next_due()
            except StoreError as exc:
                logger.warning("the inbox did not answer: %s", exc)
                wait = POLL
            if not taken:
                pause = POLL if wait is None or self.busy else min(max(wait, 0.001), POLL)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause)

    async def _take(self) -> int:
        free = min(self._limit - len(self._runs), TAKE_AT_ONCE)
        items = await self._inbox.take(free, self._lease) if free > 0 else ()
        for item in items:
            try:
                job = self._jobs(item)
            except Exception:
                logger.exception("inbox item %s cannot be run and is kept", item.id)
                await self._inbox.bury(item, "it cannot be run: see the log")
            else:
                self.run(item, job)
        return len(items)

    async def _run_guarded(self, item: Item, job: Job, claimed: tuple[Claim, float] | None) -> None:
        try:
            await self._run(item, job, claimed)
        except StoreError as exc:
            # The item stays and comes due again; nothing is lost.
            self._record(about(Kind.STORE_ERROR, job.event, detail=str(exc), error=exc))
        except Exception:
            logger.exception("inbox item %s stays and will come due again", item.id)

    async def _run(self, item: Item, job: Job, claimed: tuple[Claim, float] | None) -> None:
        if job.event.key is None:
            return await self._handle(item, job, None, monotonic())
        self._waits_no_longer(str(job.event.key), item)
        try:
            claim, sent = claimed or await self._engine.claim(bid_for(job, item.id))
        except StoreError as exc:
            return await self._store_away(item, job, exc)
        if claim.fresh:
            return await self._handle(item, job, claim, sent)
        if job.policy.observe_only:
            self._record(skip(Kind.SKIPPED, job.event, claim, detail="observed only, run anyway"))
            return await self._handle(item, job, None, sent)
        if claim.done:
            return await self._close_duplicate(item, job, claim)
        return await self._wait_for_holder(item, job, claim)

    async def _store_away(self, item: Item, job: Job, exc: StoreError) -> None:
        if job.policy.on_store_error == "process":
            self._record(about(Kind.STORE_ERROR, job.event, detail=str(exc), warning=True))
            return await self._handle(item, job, None, monotonic())
        if not item.deferred:
            self._record(
                about(
                    Kind.DEFERRED,
                    job.event,
                    reason=Reason.STORE_AWAY.value,
                    detail=str(exc),
                    delay=STORE_AWAY_WAIT,
                    warning=True,
                )
            )
        await self._inbox.defer(item, STORE_AWAY_WAIT)
        self._wake.set()
        return None

    async def _close_duplicate(self, item: Item, job: Job, claim: Claim) -> None:
        """End an item whose event is done. Only here does a claim's answer end an item."""
        await self._inbox.done(item)
        own = claim.holder is not None and claim.holder.partition(".")[0] == item.id
        if own:
            self._record(about(Kind.RECOVERED, job.event, first_seen=claim.first_seen))
        else:
            self._record(skip(Kind.SKIPPED, job.event, claim))

    async def _wait_for_holder(self, item: Item, job: Job, claim: Claim) -> None:
        """Let an item wait until the holder of its key must have ended. It is never dropped."""
        delay = max(claim.remaining, SHORTEST_DEFERRAL)
        if not item.deferred:
            self._record(skip(Kind.DEFERRED, job.event, claim, delay=delay))
        self._waiting[claim.key][item.id] = item
        await self._inbox.defer(item, delay)
        self._wake.set()

    async def _wake_waiting(self, key: str) -> None:
        for item in self._waiting.pop(key, {}).values():
            await self._inbox.defer(item, 0.0)
        self._wake.set()

    def _waits_no_longer(self, key: str, item: Item) -> None:
        if waiting := self._waiting.get(key):
            waiting.pop(item.id, None)
            if not waiting:
                del self._waiting[key]

    async def _handle(self, item: Item, job: Job, claim: Claim | None, sent: float) -> None:
        """Run the handler, then settle claim and item by how it ended."""
        if not await self._inbox.begin(item):
            if claim is not None:
                await self._engine.release(job.event, claim)
            return
        attempt = item.attempts + 1
        self._record(about(Kind.STARTED, job.event, attempt=attempt))
        # The item is kept from coming due until its claim is complete, however long that takes.
        with self._rows.hold(item, self._lease, lambda: None, sent=sent):
            run = await self._engine.run(
                job.work,
                claim,
                lease=job.policy.lease,
                sent=sent,
                timeout=job.policy.handler_timeout,
            )
            verdict = judge(run.error, run.value)
            done = verdict.ending in (Ending.DONE, Ending.DISCARD)
            completed = done and (
                claim is None or await self._engine.complete(job.event, claim, job.ttl)
            )
        ended = _Ended(item, job, claim, verdict, attempt, run.duration)
        if run.cancelled and run.error is not None:
            await self._hand_back(ended)
        elif done:
            await self._finish(ended, completed=bool(completed))
        else:
            await self._fail(ended)
        if claim is not None:
            await self._wake_waiting(claim.key)
        if run.cancelled:
            raise asyncio.CancelledError

    async def _hand_back(self, ended: _Ended) -> None:
        """Shutdown cut the handler off: give the event back at once."""
        await self._release(ended)
        await self._inbox.defer(ended.item, 0.0)

    async def _finish(self, ended: _Ended, *, completed: bool) -> None:
        if not completed:
            # Another token holds or has finished the event, or the store never answered: the item
            # stays, and ends as a duplicate or runs again.
            detail = "the handler succeeded, but its claim could not be completed"
            self._record(ended.record(Kind.LEASE_LOST, detail=detail))
            return
        await self._inbox.done(ended.item)
        if ended.verdict.ending is Ending.DISCARD:
            detail = ended.verdict.detail
            self._record(ended.record(Kind.SKIPPED, reason=Reason.DISCARDED.value, detail=detail))
        else:
            self._record(ended.record(Kind.SUCCEEDED, duration=ended.duration))

    async def _fail(self, ended: _Ended) -> None:
        verdict = ended.verdict
        lost = isinstance(verdict.error, LeaseLost)
        if not lost:
            await self._release(ended)
        if verdict.ending is Ending.WAIT:
            delay = verdict.after or SHORTEST_DEFERRAL
            await self._inbox.defer(ended.item, delay)
            self._record(ended.record(Kind.DEFERRED, detail=verdict.detail, delay=delay))
            return
        self._record(
            ended.record(
                Kind.LEASE_LOST if lost else Kind.FAILED,
                duration=ended.duration,
                detail=verdict.detail,
                error=None if lost else verdict.error,
            )
        )
        if verdict.ending is Ending.BURY or ended.attempt >= ended.job.policy.retries.attempts:
            if await self._inbox.bury(ended.item, verdict.detail):
                self._record(ended.record(Kind.BURIED, detail=verdict.detail))
            return
        await self._retry(ended)

    async def _retry(self, ended: _Ended) -> None:
        verdict = ended.verdict
        delay = ended.job.policy.retries.wait(ended.attempt)
        if verdict.after is not None:
            delay = verdict.after
        if await self._inbox.retry(ended.item, delay, verdict.detail):
            self._record(ended.record(Kind.RETRIED, delay=delay))
        self._wake.set()

    async def _release(self, ended: _Ended) -> None:
        if ended.claim is not None:
            await self._engine.release(ended.job.event, ended.claim)


@dataclass(frozen=True, slots=True)
class _Ended:
    """A run that has ended and is to be settled."""

    item: Item
    job: Job
    claim: Claim | None
    verdict: Verdict
    attempt: int
    duration: float

    def record(self, kind: Kind, **fields: Any) -> Record:
        fields.setdefault("status", self.verdict.status)
        return about(kind, self.job.event, attempt=self.attempt, **fields)


def bid_for(job: Job, row: str) -> Bid:
    """Make the bid for a job's event; its token names the row, so that the row knows its own."""
    return Bid(str(job.event.key), new_token(row), job.policy.lease, job.event.fingerprint)
