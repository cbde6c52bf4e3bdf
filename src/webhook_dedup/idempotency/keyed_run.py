"""One run of the app whose response is kept."""

from __future__ import annotations

import asyncio
from typing import Any

from ..asgi.held_response import HeldResponse, without_files
from ..asgi.scopes import BodyOnce
from ..asgi.types import ASGIApp, Receive, Scope, Send
from ..errors import LeaseLost, Retry
from ..model import Claim
from ..observe.record import Kind
from ..operation import Operation
from ..verdict import judge
from .problem import store_away

__all__ = ["KeyedRun"]

_UNKEPT = frozenset({409, 425, 429})  # what the same request may not get again


class KeyedRun:
    """Runs the app under a claim and forwards its response.

    The run ends when the app returns. The claim is settled then, or a second after the last message
    if the app goes on for longer, and only after it the end of the response is forwarded, so that a
    response that is lost on its way is replayed and the request not handled again.
    """

    def __init__(
        self,
        operation: Operation,
        claim: Claim,
        scope: Scope,
        receive: Receive,
        send: Send,
        docs: str,
    ) -> None:
        self._operation = operation
        self._claim = claim
        self._scope = scope
        self._send = send
        self._docs = docs
        self._response = HeldResponse(scope, receive, send, self._answer_early)

    async def run(self, app: ASGIApp, body: bytes, sent: float) -> None:
        """Run the app; whatever it raises goes on to the server."""
        scope, response = without_files(self._scope), self._response
        run = await self._operation.dedup.engine.run(
            lambda: app(scope, BodyOnce(body, response.receive), response.send),
            self._claim,
            lease=self._operation.lease,
            sent=sent,
            on_cut=response.stay_patient,
        )
        early, error = await response.end_patience(), run.error
        if early is not None:
            await self._end_answered_early(error, run.duration)
        else:
            error = await self._settle(error, run.duration)
            if response.complete and (error is None or (self._is_unkept and not run.cancelled)):
                await response.forward()
        if run.cancelled:
            raise asyncio.CancelledError
        if isinstance(error, LeaseLost) and not response.begun:
            await self._tell_away()
        elif error is not None:
            raise error
        if early is not None:
            early.result()  # raises what became of it on its way

    async def _answer_early(self) -> None:
        """Answer before the app has returned.

        What is not kept stays claimed until then: the same request, made again, must not be handled
        beside it.
        """
        if self._is_unkept or await self._settle(None, 0.0) is None:
            await self._response.forward()
        elif not self._response.begun:
            await self._tell_away()

    async def _end_answered_early(self, error: BaseException | None, duration: float) -> None:
        if self._is_unkept:
            await self._settle(error, duration)
        elif error is not None:
            self._operation.tell(Kind.FAILED, detail="failed after its response", error=error)

    async def _tell_away(self) -> None:
        await store_away().answer(self._send, self._docs)

    @property
    def _is_unkept(self) -> bool:
        status = self._response.captured.status
        return status is None or status in _UNKEPT or status >= 500  # noqa: PLR2004 - server errors

    async def _settle(self, error: BaseException | None, duration: float) -> BaseException | None:
        """Complete or release by how the run ended, before the client can know it.

        Returns:
            What the run failed with.
        """
        captured, settle = self._response.captured, self._operation.settle
        status = captured.status
        if error is None and self._response.complete and not self._is_unkept:
            if not await settle(self._claim, None, captured.encode(), status=status):
                error = LeaseLost("another request has the key now")
            return error
        fields: dict[str, Any] = {"duration": duration}
        why = error
        if why is None and not self._response.complete:
            why = Retry("the app returned without a complete response")
        elif why is None:
            why, fields = Retry(f"the app answered {status}"), {"status": status}
        elif judge(why).done:  # as out of claim_in: there is no response that could be replayed
            why = Retry(f"the app raised {type(why).__name__}: {why}")
        await self._operation.dedup.engine.settler.see_through(settle(self._claim, why, **fields))
        return error
