"""How the events of a job stand with the store, and the claims one handler call runs under."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .batch import events_of
from .engine import Engine, Run
from .errors import LeaseLost, StoreUnavailable
from .model import Bid, Claim, Event, Outcome, new_token
from .observe.record import Kind, skip
from .observe.recorder import Recorder
from .policy import Policy

__all__ = ["Holding", "Job", "Standing", "stand"]

Pair = tuple[Event, Claim]
Answer = tuple[Event, Claim | None]


@dataclass(slots=True)
class Job:
    """What an item asks to be run.

    Attributes:
        event: The event the item's delivery announces, with the items of a batch.
        policy: How it is treated.
        ttl: Seconds the event is remembered once done.
        work: Runs the handler for the event, which has those items that are to be run, and returns
            its HTTP status.
    """

    event: Event
    policy: Policy
    ttl: float
    work: Callable[[Event], Awaitable[int]]


class Standing:
    """What the store said to the bids for a job's events.

    Args:
        answers: For each event its claim; ``None`` for one that is run without.
        sent: Monotonic time at which the bids were sent.

    Attributes:
        to_run: Events that are new, or run without a claim.
        granted: Those of them that are held now.
        done: Events that are done.
        elsewhere: Events that others hold.
    """

    __slots__ = ("answers", "done", "elsewhere", "granted", "sent", "to_run")

    def __init__(self, answers: Sequence[Answer], sent: float) -> None:
        self.answers = answers
        self.sent = sent
        self.to_run: list[Answer] = []
        self.granted: list[Pair] = []
        self.done: list[Pair] = []
        self.elsewhere: list[Pair] = []
        for event, claim in answers:
            if claim is None:
                self.to_run.append((event, None))
            elif claim.outcome is Outcome.FRESH:
                self.to_run.append((event, claim))
                self.granted.append((event, claim))
            else:
                (self.done if claim.done else self.elsewhere).append((event, claim))

    @classmethod
    def unclaimed(cls, job: Job, sent: float) -> Standing:
        """Let every event of a job run without a claim."""
        return cls([(event, None) for event in events_of(job.event)], sent)

    def observed(self, record: Recorder) -> Standing:
        """Record what would be skipped, and let all of it run."""
        for event, claim in (*self.done, *self.elsewhere):
            record(skip(Kind.SKIPPED, event, claim, detail="observed only, run anyway"))
        running = [
            (event, claim if claim is not None and claim.fresh else None)
            for event, claim in self.answers
        ]
        return Standing(running, self.sent)


async def stand(engine: Engine, job: Job, row: str) -> Standing:
    """Bid for every event of a job that has a key.

    The tokens name the inbox row, so that the row knows its own.
    """
    events = events_of(job.event)
    lease = job.policy.lease
    bids = [
        Bid(str(event.key), new_token(row), lease, event.fingerprint)
        for event in events
        if event.key
    ]
    claims, sent = await engine.claim_all(bids)
    answers = iter(claims)
    return Standing([(event, next(answers) if event.key else None) for event in events], sent)


class Holding:
    """The events of one handler call and the claims it runs under.

    Each claim is settled once: by the handler while it runs, or by how the run ended.

    Args:
        engine: Runs and settles.
        record: Takes a record of each item that the handler settles.
        job: What asks to be run.
        standing: What its events' bids were answered with.
    """

    def __init__(self, engine: Engine, record: Recorder, job: Job, standing: Standing) -> None:
        self._engine = engine
        self._record = record
        self._job = job
        self._sent = standing.sent
        self._claims = standing.granted
        self._early: dict[str, asyncio.Future[bool | None]] = {}
        self._told: set[str] = set()
        self._running = [event for event, _ in standing.to_run]
        self.event = self._shown(standing)

    @property
    def untold(self) -> Sequence[Event]:
        """The events whose success was not recorded while the handler ran."""
        if not self._told:
            return self._running
        return [event for event in self._running if str(event.key) not in self._told]

    async def run(self, work: Callable[[Event], Awaitable[Any]], *, apart: bool) -> Run:
        """Run ``work`` while the claims that are not settled yet are renewed.

        See :meth:`Engine.run_under`.
        """
        policy = self._job.policy
        return await self._engine.run_under(
            [claim for _, claim in self._claims],
            functools.partial(work, self.event),
            lease=policy.lease,
            sent=self._sent,
            timeout=policy.handler_timeout,
            apart=apart,
        )

    async def complete(
        self, result: bytes | None = None, *, patience: float | None = None
    ) -> bool | None:
        """Mark everything done that is not; see :meth:`Engine.complete`.

        Returns:
            False when another token has one of the events, else ``None`` when the store has not
            said so of all, else True.
        """
        if len(self._claims) == 1 and not self._early:
            [(event, claim)] = self._claims
            ttl = self._job.ttl
            return await self._engine.complete(event, claim, ttl, result, patience=patience)
        rest = [
            self._engine.complete(event, claim, self._job.ttl, result, patience=patience)
            for event, claim in self._claims
            if claim.token not in self._early
        ]
        answers = [*await self._all(rest), *await self._all(list(self._early.values()))]
        return False if False in answers else None if None in answers else True

    async def release(self, lost: Sequence[Claim] = ()) -> None:
        """Give back what is neither settled nor lost."""
        settled = self._early.keys() | {claim.token for claim in lost}
        left = [
            self._engine.release(event, claim)
            for event, claim in self._claims
            if claim.token not in settled
        ]
        await self._all(left)

    def _shown(self, standing: Standing) -> Event:
        """Return the event the handler sees: that of the delivery, with the items it may handle."""
        event = self._job.event
        if not event.items:
            return event
        items = [
            replace(item, settle=functools.partial(self._settle, item.event, claim))
            for item, (_, claim) in zip(event.items, standing.answers, strict=True)
            if claim is None or claim.fresh
        ]
        return replace(event, items=tuple(items))

    async def _settle(self, event: Event, claim: Claim | None) -> None:
        """Complete one item while the handler runs, once however often it is asked for."""
        if claim is None:
            return
        completion = self._early.get(claim.token)
        if completion is None:
            completing = self._engine.complete(event, claim, self._job.ttl)
            completion = self._early[claim.token] = self._engine.start(completing)
        completed = await asyncio.shield(completion)
        if completed is None:
            raise StoreUnavailable(f"item {event.id!a} could not be marked done before shutdown")
        if not completed:
            raise LeaseLost(f"another holder has item {event.id!a} now")
        if claim.key not in self._told:
            self._told.add(claim.key)
            self._record.about(Kind.SUCCEEDED, event, detail="settled by its handler")

    async def _all(
        self, work: Sequence[Coroutine[Any, Any, Any] | asyncio.Future[Any]]
    ) -> Sequence[Any]:
        """Await one settlement in place, several at once; none ends with the waiter's cancellation.

        One that has not begun would never begin: its claim would be neither completed nor released.
        """
        if len(work) == 1 and asyncio.iscoroutine(work[0]):
            return [await work[0]]
        under_way = [self._engine.start(one) if asyncio.iscoroutine(one) else one for one in work]
        if under_way:
            await asyncio.wait(under_way)
        return [one.result() for one in under_way]
