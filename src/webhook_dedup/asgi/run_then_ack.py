"""Run, then acknowledge: ``ack="handled"``, where the handler's response is the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any

from ..batch import events_of
from ..errors import LeaseLost, RejectedDelivery, WebhookDedupError
from ..holding import Holding
from ..model import Delivery, Event, Remembers
from ..observe.record import Kind, Reason, skip
from ..policy import RETRY_AFTER, SETTLE_PATIENCE
from ..run import Run
from ..standing import Job, Standing
from ..unconfirmed import UNCONFIRMED
from ..verdict import Verdict, judge, succeeded
from .exchange import Exchange
from .held_response import HeldResponse, without_files
from .responses import acknowledge, refuse, replay
from .scopes import BodyOnce, with_event

__all__ = ["respond_handled"]

NO_STATUS = 500  # what a response that was never complete counts as


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
    """Answer a copy of a delivery whose events are done. Of a batch no response is kept."""
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

    The run ends when the app returns. The claim is settled then, or a second after the last message
    if the app goes on for longer, and only after it the end of the response is forwarded, so that a
    response that is lost on its way is answered again and not run again.
    """

    def __init__(self, exchange: Exchange, job: Job, delivery: Delivery, holding: Holding) -> None:
        self._exchange = exchange
        self._dedup = exchange.dedup
        self._job = job
        self._delivery = delivery
        self._holding = holding
        self._began = monotonic()
        self._response = HeldResponse(
            exchange.scope, exchange.receive, exchange.send, self._answer_early
        )

    async def run(self) -> None:
        self._record(Kind.STARTED)
        app = self._dedup.guarded(self._exchange.route, self._delivery, self._call_app)
        run = await self._holding.run(app, on_cut=self._response.stay_patient, apart=True)
        early = await self._response.end_patience()
        if early is not None:
            await self._end_answered_early(run)
        elif run.error is None and self._response.complete:
            await self._end_as_answered()
        else:
            await self._end_unfinished(run)
        if run.cancelled:
            raise asyncio.CancelledError
        if run.error is not None and self._is_foreign(run.error):
            raise run.error
        if early is not None:
            early.result()  # raises what became of it on its way

    async def _call_app(self, event: Event) -> int:
        scope = without_files(with_event(self._exchange.scope, event))
        delivery = self._exchange.route.narrow(self._delivery, event)
        if delivery is not self._delivery:
            scope["headers"] = list(delivery.headers)
        response = self._response
        await self._exchange.app(scope, BodyOnce(delivery.body, response.receive), response.send)
        return self._status if response.complete else NO_STATUS

    @property
    def _status(self) -> int:
        return self._response.captured.status or NO_STATUS

    async def _answer_early(self) -> None:
        """Answer before the app has returned.

        What has failed stays claimed until then: the copy that the sender is asked for must not run
        beside it.
        """
        if succeeded(self._status):
            await self._end_as_answered()
        else:
            await self._response.forward()

    async def _end_answered_early(self, run: Run) -> None:
        if not succeeded(self._status):
            await self._settle_as_answered(run.error)
        elif run.error is not None:
            self._record(Kind.FAILED, detail="failed after its response", error=run.error)

    async def _end_as_answered(self) -> None:
        """Settle by the status, and only then let the sender know it."""
        if await self._settle_as_answered():
            await self._response.forward()
        else:
            await self._come_again(RETRY_AFTER)

    async def _settle_as_answered(self, error: BaseException | None = None) -> bool:
        """Complete or release by the status; answer False if another holder has an event."""
        status, duration = self._status, monotonic() - self._began
        if succeeded(status):
            result = self._kept_result()
            return await self._complete(result, Kind.SUCCEEDED, status=status, duration=duration)
        detail = f"the handler answered {status}"
        await self._fail(Kind.FAILED, status=status, detail=detail, duration=duration, error=error)
        return True

    def _kept_result(self) -> bytes | None:
        keeps = Remembers.RESULT in self._dedup.store.remembers
        alone = len(events_of(self._job.event)) == 1
        return self._response.captured.encode() if keeps and alone else None

    async def _complete(self, result: bytes | None, kind: Kind, **fields: Any) -> bool:
        """Mark the events done and record it, which may be when the store is back.

        A cancelled request leaves both to the background.

        Returns:
            False if another holder has one.
        """

        def later(event: Event, completed: bool | None) -> None:
            if completed is not None:  # else the engine has recorded that it was away to the end
                told = kind if completed else Kind.LEASE_LOST
                self._dedup.record.about(told, event, **fields)

        completed = await self._holding.complete(result, patience=SETTLE_PATIENCE, later=later)
        if completed is None:
            self._record(Kind.STORE_ERROR, detail=UNCONFIRMED, warning=True)
        elif completed:
            self._holding.tell_each(kind, **fields)
        else:
            self._record(Kind.LEASE_LOST, detail="another holder has the event now")
        if not completed:
            self._holding.tell_done(kind, **fields)
        return completed is not False

    async def _fail(self, kind: Kind, **fields: Any) -> None:
        """Give the events back and record why, though the request be cancelled meanwhile."""

        async def give_back() -> None:
            await self._holding.release()
            self._record(kind, **fields)

        await self._dedup.engine.settler.see_through(give_back())

    async def _end_unfinished(self, run: Run) -> None:
        """Settle a run that failed, even if its response was complete, and answer for it."""
        verdict = judge(run.error)
        settled = run.error is not None and verdict.done
        reason, detail = verdict.reason, verdict.detail
        if settled:
            await self._complete(
                None, verdict.kind, reason=reason, detail=detail, duration=run.duration
            )
        else:
            kind = Kind.LEASE_LOST if isinstance(run.error, LeaseLost) else Kind.FAILED
            detail = detail or "the app returned without a complete response"
            error, duration = verdict.error, run.duration
            await self._fail(kind, reason=reason, detail=detail, error=error, duration=duration)
        if not run.cancelled:
            await self._answer_for(run, verdict, settled=settled)

    async def _answer_for(self, run: Run, verdict: Verdict, *, settled: bool) -> None:
        """Answer in place of an app that did not."""
        if settled:
            if not self._response.begun:
                await acknowledge(self._exchange.send, self._exchange.preset)
        elif not self._is_foreign(run.error):
            await self._come_again(RETRY_AFTER if verdict.after is None else verdict.after)
        elif self._response.complete and not succeeded(self._status):
            await self._response.forward()  # it says itself that the event failed

    async def _come_again(self, after: float) -> None:
        """Make the sender deliver again; a response that has begun is left without its end."""
        if not self._response.begun:
            await _ask_again(self._exchange, "not_handled", "the event was not handled", after)

    @staticmethod
    def _is_foreign(error: BaseException | None) -> bool:
        """Whether an error is the app's own, to be raised to the server and outer middlewares."""
        return error is not None and not isinstance(error, (WebhookDedupError, TimeoutError))

    def _record(self, kind: Kind, **fields: Any) -> None:
        self._dedup.record.about(kind, self._job.event, **fields)
