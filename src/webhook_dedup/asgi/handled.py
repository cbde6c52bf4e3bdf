"""Handle, then acknowledge: ``ack="handled"``, where the handler's response is the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any

from ..batch import events_of
from ..engine import Run
from ..errors import LeaseLost, RejectedDelivery, WebhookDedupError
from ..holding import Holding, Job, Standing
from ..model import Delivery, Event, Remembers
from ..observe.record import Kind, Reason, skip
from ..verdict import Ending, judge, succeeded
from .exchange import Exchange
from .responses import Captured, acknowledge, is_last, refuse, replay
from .scopes import BodyOnce, with_event
from .types import Message

__all__ = ["respond_handled"]

SETTLE_PATIENCE = 5.0
RETRY_AFTER = 5.0
NO_STATUS = 500  # what a response that never began counts as


async def respond_handled(exchange: Exchange, delivery: Delivery, event: Event) -> None:
    """Claim, run the app and forward its response; answer copies with the first response."""
    job = exchange.dedup.job(exchange.route, event, delivery)
    standing = await exchange.claim(job, delivery.id) or Standing.unclaimed(job, monotonic())
    if exchange.route.policy.observe_only:
        standing = standing.observed(exchange.dedup.record)
    for copy, claim in (*standing.done, *standing.elsewhere):
        exchange.dedup.record(skip(Kind.SKIPPED, copy, claim))
    holding = exchange.holding(job, standing)
    if standing.elsewhere:
        # Its sender is to come again for all of them, so that none is dropped.
        await holding.release()
        busy = "this event is being handled"
        after = max(claim.remaining for _, claim in standing.elsewhere)
        return await _ask_again(exchange, Reason.IN_FLIGHT.value, busy, after)
    if not standing.to_run:
        return await _answer_copy(exchange, [claim.result for _, claim in standing.done])
    return await _Handling(exchange, job, delivery, holding).run()


async def _answer_copy(exchange: Exchange, results: Sequence[bytes | None]) -> None:
    """Answer a copy of a delivery whose events are done; what several answered is not kept."""
    [result] = results if len(results) == 1 else [None]
    if result is not None:
        await replay(exchange.send, result)
    else:
        await acknowledge(exchange.send, exchange.preset)


async def _ask_again(exchange: Exchange, code: str, detail: str, after: float) -> None:
    """Tell the sender to deliver again, with the status that makes this provider do so."""
    status = exchange.preset.retry_status
    await refuse(exchange.send, RejectedDelivery(status, code, detail, retry_after=after))


class _Handling:
    """One run of the app whose response is forwarded.

    The claim is settled before the last message of the response is forwarded, so that a response
    that is lost on its way is answered again and not run again.
    """

    def __init__(self, exchange: Exchange, job: Job, delivery: Delivery, holding: Holding) -> None:
        self._exchange = exchange
        self._dedup = exchange.dedup
        self._job = job
        self._delivery = delivery
        self._holding = holding
        self._captured = Captured()
        self._settled = False
        self._began = 0.0

    async def run(self) -> None:
        self._began = monotonic()
        self._record(Kind.STARTED)
        app = self._dedup.guarded(self._exchange.route, self._delivery, self._call_app)
        run = await self._holding.run(app, apart=True)
        if not self._settled:
            await self._end_without_response(run)
        elif run.error is not None:
            self._record(Kind.FAILED, detail="failed after its response", error=run.error)
        if run.cancelled:
            raise asyncio.CancelledError
        if run.error is not None and self._is_foreign(run.error):
            raise run.error

    async def _call_app(self, event: Event) -> int:
        scope = with_event(self._exchange.scope, event)
        delivery = self._exchange.route.narrow(self._delivery, event)
        if delivery is not self._delivery:
            scope["headers"] = list(delivery.headers)
        await self._exchange.app(
            scope, BodyOnce(delivery.body, self._exchange.receive), self._forward
        )
        return self._captured.status or NO_STATUS

    async def _forward(self, message: Message) -> None:
        self._captured.note(message)
        if is_last(message) and not self._settled:
            await self._settle()
        await self._exchange.send(message)

    async def _settle(self) -> None:
        """Complete or release by the status, before the sender can know it."""
        self._settled = True
        status = self._captured.status
        if status is None or not succeeded(status):
            await self._holding.release()
            answered = f"the handler answered {status}"
            self._record(Kind.FAILED, status=status, detail=answered, duration=self._duration)
        elif await self._complete(self._kept_result()):
            self._holding.tell_each(Kind.SUCCEEDED, status=status, duration=self._duration)

    def _kept_result(self) -> bytes | None:
        keeps = Remembers.RESULT in self._dedup.store.remembers
        alone = len(events_of(self._job.event)) == 1
        return self._captured.encode() if keeps and alone else None

    async def _complete(self, result: bytes | None) -> bool:
        """Mark the events done; answer False if another holder has one."""
        completed = await self._holding.complete(result, patience=SETTLE_PATIENCE)
        if completed is False:
            self._record(Kind.LEASE_LOST, detail="another holder has the event now")
        return completed is not False

    async def _end_without_response(self, run: Run) -> None:
        """The app ended before its response was complete: settle, and answer if it is not late."""
        verdict = judge(run.error)
        silent = self._captured.status is None and not run.cancelled
        if run.error is not None and verdict.done:
            await self._complete(None)
            kind = Kind.SKIPPED if verdict.ending is Ending.DISCARD else Kind.SUCCEEDED
            self._holding.tell_each(kind, reason=verdict.reason, detail=verdict.detail)
            if silent:
                await acknowledge(self._exchange.send, self._exchange.preset)
            return
        await self._holding.release()
        lost = isinstance(run.error, LeaseLost)
        detail = verdict.detail or "the app returned without a complete response"
        kind = Kind.LEASE_LOST if lost else Kind.FAILED
        self._record(
            kind, reason=verdict.reason, detail=detail, error=verdict.error, duration=run.duration
        )
        if silent and not self._is_foreign(run.error):
            after = RETRY_AFTER if verdict.after is None else verdict.after
            await _ask_again(self._exchange, "not_handled", "the event was not handled", after)

    @property
    def _duration(self) -> float:
        return monotonic() - self._began

    @staticmethod
    def _is_foreign(error: BaseException | None) -> bool:
        """Whether an error is the app's own, for the servers and middlewares outside to see."""
        return error is not None and not isinstance(error, (WebhookDedupError, TimeoutError))

    def _record(self, kind: Kind, **fields: Any) -> None:
        self._dedup.record.about(kind, self._job.event, **fields)
