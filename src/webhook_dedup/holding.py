"""The claims one handler call runs under, and how they are settled."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from msgspec.structs import replace

from .engine import Engine
from .errors import LeaseLost, StoreUnavailable
from .model import Claim, Event
from .observe.record import Kind
from .observe.recorder import Recorder
from .run import Run
from .standing import Claimed, Job, Standing

__all__ = ["Holding"]


class Holding:
    """The events of one handler call and the claims it runs under.

    Each claim is settled once: by the handler while it runs, or by how the run ended.

    Args:
        engine: Runs and settles.
        record: Takes a record of each item that the handler settles.
        job: What asks to be run.
        standing: What its events' bids were answered with.
    """

    __slots__ = (
        "_early",
        "_engine",
        "_job",
        "_last",
        "_record",
        "_settled",
        "_standing",
        "_told",
        "event",
    )

    def __init__(self, engine: Engine, record: Recorder, job: Job, standing: Standing) -> None:
        self._engine = engine
        self._record = record
        self._job = job
        self._standing = standing
        # By token. Only items are settled early, so that an event without any has neither.
        self._early: dict[str, asyncio.Future[bool | None]] | None = {} if job.event.items else None
        self._told: set[str] | None = set() if job.event.items else None
        self._last: Event | None = None
        self._settled: Sequence[tuple[Event, bool]] = ()
        self.event = self._shown(standing)

    def tell_each(self, kind: Kind, **fields: Any) -> None:
        """Record how each event ended, unless its success is already recorded."""
        for event, _ in self._standing.to_run:
            if not self._told or str(event.key) not in self._told:
                self._record.about(kind, event, **fields)

    def tell_done(self, kind: Kind, **fields: Any) -> None:
        """Record, of several events, how those ended whose completion was confirmed in time."""
        for event, done in self._settled:
            if done:
                self._record.about(kind, event, **fields)

    def run(
        self,
        work: Callable[[Event], Awaitable[Any]],
        *,
        on_cut: Callable[[], object] | None = None,
        apart: bool,
    ) -> Coroutine[Any, Any, Run]:
        """Run ``work`` while the claims that are not settled yet are renewed.

        See :meth:`Engine.run_under`.
        """
        policy = self._job.policy
        return self._engine.run_under(
            [claim for _, claim in self._standing.granted],
            work,
            self.event,
            lease=policy.lease,
            sent=self._standing.sent,
            timeout=policy.handler_timeout,
            on_cut=on_cut,
            apart=apart,
        )

    def complete(
        self,
        result: bytes | None = None,
        *,
        patience: float | None = None,
        later: Callable[[Event, bool | None], object] | None = None,
    ) -> Coroutine[Any, Any, bool | None]:
        """Complete every claim that is not settled yet; see :meth:`Engine.complete`.

        Once the caller was cancelled, ``later`` is told of each of several events.

        Returns:
            True when all are done, False when another token has one of them, ``None`` when the
            store has not confirmed all.
        """
        # A caller without patience keeps what it settles, and has it run again by that.
        lease = 0.0 if patience is None else self._job.policy.lease
        unsettled = self._unsettled
        completing = [
            self._engine.complete(
                event,
                claim,
                self._job.ttl,
                result,
                patience=patience,
                lease=lease,
                later=None if later is None else functools.partial(later, event),
            )
            for event, claim in unsettled
        ]
        if len(completing) == 1 and not self._early:
            return completing[0]
        if later is None:
            return self._complete_all(completing)
        several = _Several(later)
        self._settled = several.settled
        pairs = zip(unsettled, completing, strict=True)
        noted = [several.note(event, one) for (event, _), one in pairs]
        return several.awaited(self._complete_all(noted))

    async def _complete_all(
        self, completing: Sequence[Coroutine[Any, Any, bool | None]]
    ) -> bool | None:
        early = list(self._early.values()) if self._early else []
        answers = [*await self._all(completing), *await self._all(early)]
        return False if False in answers else None if None in answers else True

    async def release(self, lost: Sequence[Claim] = ()) -> None:
        """Give back what is neither settled nor lost."""
        if self._last is not None:
            self._tell_early(self._last)
        gone = {claim.token for claim in lost}
        left = [
            self._engine.release(event, claim)
            for event, claim in self._unsettled
            if claim.token not in gone
        ]
        await self._all(left)

    @property
    def _unsettled(self) -> Sequence[Claimed]:
        granted, early = self._standing.granted, self._early
        return [pair for pair in granted if pair[1].token not in early] if early else granted

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
        if claim is None or self._early is None or self._told is None:
            return
        completion = self._early.get(claim.token)
        if completion is None:
            completing = self._engine.complete(event, claim, self._job.ttl)
            completion = self._early[claim.token] = self._engine.settler.start(completing)
        completed = await asyncio.shield(completion)
        if completed is None:
            raise StoreUnavailable(f"item {event.id!a} could not be marked done before shutdown")
        if not completed:
            raise LeaseLost(f"another holder has item {event.id!a} now")
        if claim.key in self._told:
            return
        if len(self._told) + 1 == len(self._standing.to_run):
            self._last = event  # told with the end of the run, of which nothing else would tell
        else:
            self._told.add(claim.key)
            self._tell_early(event)

    def _tell_early(self, event: Event) -> None:
        self._record.about(Kind.SUCCEEDED, event, detail="settled by its handler")

    async def _all(
        self, work: Sequence[Coroutine[Any, Any, Any] | asyncio.Future[Any]]
    ) -> Sequence[Any]:
        """Await one settlement in place, several at once; none ends with the waiter's cancellation.

        One that has not begun would never begin: its claim would be neither completed nor released.
        """
        if len(work) == 1 and asyncio.iscoroutine(work[0]):
            return [await work[0]]
        start = self._engine.settler.start
        under_way = [start(one) if asyncio.iscoroutine(one) else one for one in work]
        if under_way:
            await asyncio.wait(under_way)
        return [one.result() for one in under_way]


class _Several:
    """Notes how each of several events was settled, whatever becomes of the others.

    Args:
        later: Told of each, once the caller that waits for all was cancelled.

    Attributes:
        settled: Those of which the store has said something, and whether they are done.
    """

    def __init__(self, later: Callable[[Event, bool | None], object]) -> None:
        self.settled: list[tuple[Event, bool]] = []
        self._later = later
        self._left = False

    async def note(self, event: Event, completing: Coroutine[Any, Any, bool | None]) -> bool | None:
        completed = await completing
        if completed is not None:
            self.settled.append((event, completed))
            if self._left:
                self._later(event, completed)
        return completed

    async def awaited(self, completing: Coroutine[Any, Any, bool | None]) -> bool | None:
        try:
            return await completing
        except asyncio.CancelledError:
            self._left = True
            for event, done in self.settled:
                self._later(event, done)
            raise
