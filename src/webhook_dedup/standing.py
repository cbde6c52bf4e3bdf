"""What is to be run, and how its events stand with the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any

from msgspec import Struct

from .batch import events_of
from .engine import Engine
from .model import Bid, Claim, Event, Key, Outcome, new_token
from .observe.record import Kind, skip
from .observe.recorder import Recorder
from .policy import Policy

__all__ = ["Claimed", "Job", "Standing", "claim_events"]

Claimed = tuple[Event, Claim]
Answer = tuple[Event, Claim | None]

_FRESH = Outcome.FRESH  # to find it in its class costs as much as all the rest of a comparison


class Job(Struct):
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
        held: Any = answers  # all of them, as nearly always
        self.to_run: Sequence[Answer] = answers
        self.granted: Sequence[Claimed] = held
        self.done: Sequence[Claimed] = ()
        self.elsewhere: Sequence[Claimed] = ()
        for _, claim in answers:
            if claim is None or claim.outcome is not _FRESH:
                self._sort(answers)
                break

    def _sort(self, answers: Sequence[Answer]) -> None:
        """Tell apart what is not all fresh."""
        to_run: list[Any] = []
        granted: list[Any] = []
        done: list[Any] = []
        elsewhere: list[Any] = []
        for answer in answers:
            claim = answer[1]
            if claim is None:
                to_run.append(answer)
            elif claim.outcome is _FRESH:
                to_run.append(answer)
                granted.append(answer)
            else:
                (done if claim.done else elsewhere).append(answer)
        self.to_run, self.granted, self.done, self.elsewhere = to_run, granted, done, elsewhere

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


async def claim_events(engine: Engine, job: Job, row: str) -> Standing:
    """Bid for every event of a job that has a key.

    Args:
        engine: Claims.
        job: What is to be run.
        row: Id of its inbox row. The tokens name it, so that the row knows its own claims.

    Raises:
        StoreError: The store did not answer; nothing is held.
    """
    event = job.event
    if event.key and not event.items:
        sent = monotonic()
        claim = await engine.store.claim(_bid(event, event.key, job, row))
        return Standing(((event, claim),), sent)
    events = events_of(event)
    bids = [_bid(each, each.key, job, row) for each in events if each.key]
    claims, sent = await engine.claim_all(bids)
    answers = iter(claims)
    return Standing([(each, next(answers) if each.key else None) for each in events], sent)


def _bid(event: Event, key: Key, job: Job, row: str) -> Bid:
    return Bid(str(key), new_token(row), job.policy.lease, event.fingerprint)
