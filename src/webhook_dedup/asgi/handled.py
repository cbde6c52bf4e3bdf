"""Handle, then acknowledge: ``ack="handled"``, where the handler's response is the answer."""

from __future__ import annotations

import asyncio
from typing import Any

from ..engine import Run
from ..errors import LeaseLost, RejectedDelivery, WebhookDedupError
from ..model import Claim, Delivery, Event, Remembers
from ..observe.record import Kind, Reason, about, skip
from ..runner import Job
from ..verdict import Ending, judge, succeeded
from .exchange import Exchange
from .responses import Captured, acknowledge, is_last, refuse, replay
from .scopes import BodyOnce, with_event
from .types import Message

__all__ = ["respond_handled"]

SETTLE_PATIENCE = 5.0
RETRY_AFTER = 5.0


async def respond_handled(exchange: Exchange, delivery: Delivery, event: Event) -> None:
    """Claim, run the app and forward its response; answer copies with the first response."""
    job = exchange.dedup.job(exchange.route, event, delivery)
    claim, sent = await exchange.claim(job, delivery.id)
    if claim is not None and not claim.fresh:
        if not exchange.policy.observe_only:
            return await _answer_copy(exchange, event, claim)
        detail = "observed only, run anyway"
        exchange.dedup.record(skip(Kind.SKIPPED, event, claim, detail=detail))
        claim = None
    return await _Handling(exchange, job, delivery, claim).run(sent)


async def _answer_copy(exchange: Exchange, event: Event, claim: Claim) -> None:
    """Answer a copy of an event that is done or being handled."""
    exchange.dedup.record(skip(Kind.SKIPPED, event, claim))
    if not claim.done:
        busy = "this event is being handled"
        await _ask_again(exchange, Reason.IN_FLIGHT.value, busy, claim.remaining)
    elif claim.result is not None:
        await replay(exchange.send, claim.result)
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

    def __init__(
        self, exchange: Exchange, job: Job, delivery: Delivery, claim: Claim | None
    ) -> None:
        self._exchange = exchange
        self._dedup = exchange.dedup
        self._job = job
        self._delivery = delivery
        self._claim = claim
        self._captured = Captured()
        self._settled = False

    async def run(self, sent: float) -> None:
        policy = self._job.policy
        self._record(Kind.STARTED)
        run = await self._dedup.engine.run(
            self._call_app,
            self._claim,
            lease=policy.lease,
            sent=sent,
            timeout=policy.handler_timeout,
        )
        if not self._settled:
            await self._end_without_response(run)
        elif run.error is not None:
            self._record(Kind.FAILED, detail="failed after its response", error=run.error)
        if run.cancelled:
            raise asyncio.CancelledError
        if run.error is not None and self._is_foreign(run.error):
            raise run.error

    async def _call_app(self) -> None:
        scope = with_event(self._exchange.scope, self._job.event)
        receive = BodyOnce(self._delivery.body, self._exchange.receive)
        await self._exchange.app(scope, receive, self._forward)

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
            await self._release()
            self._record(Kind.FAILED, status=status, detail=f"the handler answered {status}")
        elif await self._complete(self._kept_result()):
            self._record(Kind.SUCCEEDED, status=status)

    def _kept_result(self) -> bytes | None:
        keeps = Remembers.RESULT in self._dedup.store.remembers
        return self._captured.encode() if keeps else None

    async def _complete(self, result: bytes | None) -> bool:
        """Mark the event done; answer False if another holder has it."""
        completed = self._claim is None or await self._dedup.engine.complete(
            self._job.event, self._claim, self._job.ttl, result, patience=SETTLE_PATIENCE
        )
        if completed is False:
            self._record(Kind.LEASE_LOST, detail="another holder has the event now")
        return completed is not False

    async def _release(self) -> None:
        if self._claim is not None:
            await self._dedup.engine.release(self._job.event, self._claim)

    async def _end_without_response(self, run: Run) -> None:
        """The app ended before its response was complete: settle, and answer if it is not late."""
        verdict = judge(run.error)
        silent = self._captured.status is None and not run.cancelled
        if verdict.ending is Ending.DISCARD:
            await self._complete(None)
            self._record(Kind.SKIPPED, reason=Reason.DISCARDED.value, detail=verdict.detail)
            if silent:
                await acknowledge(self._exchange.send, self._exchange.preset)
            return
        await self._release()
        lost = isinstance(run.error, LeaseLost)
        detail = verdict.detail or "the app returned without a complete response"
        self._record(Kind.LEASE_LOST if lost else Kind.FAILED, detail=detail, error=verdict.error)
        if silent and not self._is_foreign(run.error):
            after = RETRY_AFTER if verdict.after is None else verdict.after
            await _ask_again(self._exchange, "not_handled", "the event was not handled", after)

    @staticmethod
    def _is_foreign(error: BaseException | None) -> bool:
        """Whether an error is the app's own, for the servers and middlewares outside to see."""
        return error is not None and not isinstance(error, (WebhookDedupError, TimeoutError))

    def _record(self, kind: Kind, **fields: Any) -> None:
        self._dedup.record(about(kind, self._job.event, **fields))
