"""One run of the app whose response is kept."""

from __future__ import annotations

import asyncio

from ..asgi.held import Held, without_files
from ..asgi.scopes import BodyOnce
from ..asgi.types import ASGIApp, Message, Receive, Scope, Send
from ..engine import Run
from ..errand import Errand
from ..errors import LeaseLost, Retry
from ..model import Claim
from .problem import store_away

__all__ = ["Handling"]

_UNKEPT = frozenset({409, 425, 429})  # what the same request may not get again


class Handling:
    """Runs the app under a claim and forwards its response.

    The run ends when the app returns. The claim is settled then, and only after it the end of the
    response is forwarded, so that a response that is lost on its way is replayed and the request
    not handled again.
    """

    def __init__(
        self, errand: Errand, claim: Claim, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._errand = errand
        self._claim = claim
        self._scope = scope
        self._send = send
        self._response = Held(scope, receive, self._deliver)
        self._gone = False

    async def run(self, app: ASGIApp, body: bytes, sent: float, docs: str) -> None:
        """Run the app; whatever it raises goes on to the server."""
        scope, response = without_files(self._scope), self._response
        run = await self._errand.dedup.engine.run(
            lambda: app(scope, BodyOnce(body, response.receive), response.send),
            self._claim,
            lease=self._errand.lease,
            sent=sent,
        )
        error = await self._settle(run)
        if response.complete and (error is None or (self._is_unkept and not run.cancelled)):
            await response.forward()
        if run.cancelled:
            raise asyncio.CancelledError
        if isinstance(error, LeaseLost) and not response.begun:
            await store_away().answer(self._send, docs)
        elif error is not None:
            raise error

    async def _deliver(self, message: Message) -> None:
        if self._gone:
            return
        try:
            await self._send(message)
        except OSError:
            # The client left, and will ask again: the app may finish what is kept for it.
            if self._response.captured.encode() is None:
                raise
            self._gone = True

    @property
    def _is_unkept(self) -> bool:
        status = self._response.captured.status
        return status is None or status in _UNKEPT or status >= 500  # noqa: PLR2004 - server errors

    async def _settle(self, run: Run) -> BaseException | None:
        """Complete or release by how the run ended, before the client can know it.

        Returns:
            What the run failed with.
        """
        captured, settle = self._response.captured, self._errand.settle
        error, status = run.error, captured.status
        if error is not None:
            await settle(self._claim, error, duration=run.duration)
        elif not self._response.complete:
            unfinished = Retry("the app returned without a complete response")
            await settle(self._claim, unfinished, duration=run.duration)
        elif self._is_unkept:
            await settle(self._claim, Retry(f"the app answered {status}"), status=status)
        elif not await settle(self._claim, None, captured.encode(), status=status):
            error = LeaseLost("another request has the key now")
        return error
