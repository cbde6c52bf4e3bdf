"""Runs accepted deliveries: bounded concurrency, what comes due, drain."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any

from .coalesce import InboxCoalescer
from .contracts import Inbox
from .engine import Engine
from .errors import ConfigError, RejectedDelivery, StoreError
from .inbox.attempts import note
from .lease import LeaseKeeper
from .model import Item
from .observe.record import Kind, Record
from .observe.recorder import Recorder
from .policy import RETRY_AFTER, Policy
from .quarantine import Quarantine, is_suspect
from .siblings import Siblings
from .standing import Job, Standing
from .turn import Tools, Turn
from .unknown_sources import UnknownSources

__all__ = ["Runner"]

logger = logging.getLogger("webhook_dedup")

POLL = 1.0
SOONEST = 0.001
LOOK_AROUND = 60.0
TAKE_AT_ONCE = 64
LAST_WORDS = 1.0
ONE_AT_A_TIME = "runs of it were cut off, and such events are run one at a time"


class Runner:
    """Takes items from an inbox and runs each event's handler under its claim.

    Args:
        engine: Claims, runs and settles.
        inbox: Where accepted deliveries live.
        jobs: Finds the job of an item.
        record: Takes the records.
        policy: Gives the lease of items, the number of runs at once and the drain time-out.
        works: Whether items are run here. If not they are accepted for the workers, due at once.
        poll: Seconds between looks into the inbox for what other processes left there.
        sources: The sources whose items are taken, ``None`` for all. While what is due is of none
            of them, one such item a minute is taken and given back, so that a person is told.
    """

    def __init__(
        self,
        engine: Engine,
        inbox: Inbox,
        jobs: Callable[[Item], Job],
        record: Recorder,
        policy: Policy,
        *,
        works: bool = True,
        poll: float = POLL,
        sources: Collection[str] | None = None,
    ) -> None:
        self._inbox = InboxCoalescer(inbox, policy.lease if works else 0.0)
        self._works = works
        self._poll = poll
        self._sources = sources
        self._looks_around_at = 0.0
        self._jobs = jobs
        self._record = record
        self._limit = policy.max_in_flight
        self._runs: dict[asyncio.Task[None], asyncio.Future[None] | None] = {}  # and who waits
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()  # kept: to ask costs a system call before 3.12
        self._taking: asyncio.Task[None] | None = None
        # Kept: what is taken must not run in the context of the request that starts the taking.
        self._context = contextvars.copy_context()
        self._lease = policy.lease
        self._quarantine = Quarantine(policy.lease, policy.max_in_flight)
        self._unknown_sources = UnknownSources()
        self._rows: LeaseKeeper[Item] = LeaseKeeper(inbox.renew, lambda item: item.id)
        self._ending = False
        self._tools = Tools(
            engine,
            self._inbox,
            record,
            self._rows,
            policy.lease,
            Siblings(),
            wake=self._wake.set,
            ending=lambda: self._ending,
            ended=self._turn_ended,
        )

    @property
    def busy(self) -> bool:
        """Whether as many handlers run as may."""
        return len(self._runs) >= self._limit

    def start(self) -> None:
        """Begin to take items that come due, unless that was done."""
        if self._works and self._taking is None:
            self._taking = self._context.run(self._loop.create_task, self._take_due())

    async def accept(self, item: Item) -> None:
        """Record an item before its delivery is acknowledged.

        Raises:
            RejectedDelivery: It could not be recorded, or nothing durable holds it and too many
                handlers run; the sender is asked to come again.
        """
        if self.busy and not self._inbox.inbox.durable:
            raise RejectedDelivery(
                503, "overloaded", f"{self._limit} events are being handled", retry_after=1.0
            )
        try:
            await self._inbox.put(item)
        except StoreError as exc:
            source, event_id = item.delivery.source, item.event_id or None
            error = Record(Kind.STORE_ERROR, source, event_id, delivery_id=item.id, detail=str(exc))
            self._record(error)
            raise RejectedDelivery(
                503,
                "inbox_unavailable",
                "the delivery could not be recorded",
                retry_after=RETRY_AFTER,
            ) from exc

    async def withdraw(self, item: Item) -> None:
        """Take back an accepted item whose sender is asked to come again.

        If that fails it is run all the same, and the sender's next copy is a duplicate.
        """
        with contextlib.suppress(StoreError):
            await self._inbox.done(item)

    def expect(self, standing: Standing) -> None:
        """Note claims that were granted before the acknowledgement; their run begins after it."""
        self._tools.expect(standing)

    def run(self, item: Item, job: Job, standing: Standing | None = None) -> asyncio.Future[None]:
        """Run an accepted item in a task of its own, with its claims if they were already made.

        While as many handlers run as may, the item is left in the inbox for later. Of an inbox that
        workers take from, it is left to them.

        Returns:
            A future of its end; cancelling it cancels nothing.
        """
        ended: asyncio.Future[None] = self._loop.create_future()
        if not self._works:
            ended.set_result(None)
            return ended
        turn = Turn(self._tools, item, job).run(standing, room=not self.busy)
        task = self._loop.create_task(turn)
        self._runs[task] = ended
        if task.done():  # begun at once by an eager task factory, and ended before it was noted
            self._ended(task)
        return ended

    async def drain(self, timeout: float) -> None:
        """Take nothing new, let running handlers end, cancel and release what is left."""
        while self._taking is not None and not self._taking.done():
            # Again, because what it waits for may swallow a cancellation, as a driver's wait_for
            # does before Python 3.12.
            self._taking.cancel()
            await asyncio.wait([self._taking], timeout=0.05)
        await self._hand_back_suspects()
        if self._runs:
            await asyncio.wait(list(self._runs), timeout=timeout)
        self._forget_ended()
        left = list(self._runs)
        self._ending = True
        for task in left:
            task.cancel()
        if left:
            logger.warning("%d handlers were cancelled at shutdown", len(left))
            await asyncio.wait(left, timeout=LAST_WORDS)
        self._forget_ended()
        await self._rows.aclose()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._inbox.drain(), LAST_WORDS)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._runs[task] = None
        task.add_done_callback(self._ended)

    def _turn_ended(self) -> None:
        """Note the end of the turn that calls it: a callback would take four objects per event."""
        task = asyncio.current_task(self._loop)
        if task is not None:
            self._ended(task)

    def _forget_ended(self) -> None:
        """Note the end of turns that were cancelled before they began: they say nothing."""
        for task in [task for task in self._runs if task.done()]:
            self._ended(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self.busy:  # items may be waiting for the room that there is now
            self._wake.set()
        ended = self._runs.pop(task, None)
        if ended is not None and not ended.done():
            ended.set_result(None)

    async def _take_due(self) -> None:
        in_vain = SOONEST
        while True:
            self._wake.clear()
            pause = self._poll
            try:
                taken = await self._take()
                await self._run_suspect()
                if taken:
                    continue
                wait = await self._inbox.inbox.next_due()
                # What is due and yet not taken is another's, who may leave it for long.
                in_vain = min(2 * in_vain, self._poll) if wait == 0 else SOONEST
                if wait is not None and not self.busy:
                    pause = min(max(wait, in_vain), self._poll)
                    if in_vain == self._poll:
                        await self._look_around()
            except StoreError as exc:
                logger.warning("the inbox did not answer: %s", exc)
            except Exception:
                logger.exception("the inbox failed; it is asked again")
            await self._sleep(pause)

    async def _sleep(self, pause: float) -> None:
        """Wait to be woken, at most for ``pause`` seconds.

        Not by wait_for: before Python 3.12 it swallows a cancellation that comes together with the
        waking, and a loop that ends without a drain would wait for this task for ever.
        """
        timer = self._loop.call_later(pause, self._look_again)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    def _look_again(self) -> None:
        self._forget_ended()
        self._wake.set()

    async def _take(self) -> int:
        free = min(self._limit - len(self._runs), TAKE_AT_ONCE)
        items = await self._inbox.take(free, self._sources) if free > 0 else ()
        self._give_out(items)
        return len(items)

    async def _look_around(self) -> None:
        """Now and then take one item of an unknown source, so that a person is told of it."""
        now = self._loop.time()
        if now >= self._looks_around_at:
            self._looks_around_at = now + LOOK_AROUND
            self._give_out(await self._inbox.take(1, None))

    def _give_out(self, items: Sequence[Item]) -> None:
        for item in items:
            try:
                job = self._jobs(item)
            except ConfigError as exc:
                self._spawn(self._leave(item, str(exc)))
            except Exception as exc:
                logger.exception("inbox item %s cannot be run", item.id)
                self._spawn(self._set_aside(item, f"it cannot be run: {exc!r}"))
            else:
                self._dispatch(item, job)

    def _dispatch(self, item: Item, job: Job) -> None:
        if not is_suspect(item, job):
            self.run(item, job)
        elif self._quarantine.add(item, job):
            self._record.about(Kind.DEFERRED, job.event, detail=ONE_AT_A_TIME)

    async def _run_suspect(self) -> None:
        """Run the next suspect if the place is free, unless it has come due meanwhile."""
        while not self.busy and (suspect := self._quarantine.next()) is not None:
            item, job = suspect
            if all(await self._inbox.inbox.renew([item], self._lease)):
                ended = self.run(item, job)
                ended.add_done_callback(lambda _: self._wake.set())
                self._quarantine.enter(item, ended)

    async def _hand_back_suspects(self) -> None:
        """Let those who wait for their turn come due at once, for other processes."""
        waiting = list(self._quarantine.leave())
        if waiting:
            with contextlib.suppress(StoreError, asyncio.TimeoutError):
                await asyncio.wait_for(self._inbox.inbox.renew(waiting, 0.0), LAST_WORDS)

    async def _leave(self, item: Item, why: str) -> None:
        """Leave an item to a process that knows its source, or to the day it is configured."""
        wait = self._unknown_sources.wait(item.id)
        if self._unknown_sources.is_news(item.delivery.source):
            logger.warning("inbox item %s is left waiting: %s", item.id, why)
        with contextlib.suppress(StoreError):
            await self._inbox.inbox.renew([item], wait)

    async def _set_aside(self, item: Item, why: str) -> None:
        """Bury an item whose event cannot be told. If that fails it will come due again."""
        try:
            buried = await self._inbox.inbox.bury(item, note(why))
        except StoreError as exc:
            logger.warning("inbox item %s could not be set aside: %s", item.id, exc)
            return
        if buried:
            source = item.delivery.source
            self._record(Record(Kind.BURIED, source, delivery_id=item.id, detail=why))
