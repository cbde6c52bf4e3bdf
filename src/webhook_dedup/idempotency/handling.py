"""One run of the app whose response is kept."""

from __future__ import annotations

import asyncio

from ..asgi.responses import Captured, is_last
from ..asgi.types import ASGIApp, Message, Receive, Scope, Send
from ..engine import Run
from ..errand import Errand
from ..errors import LeaseLost, Retry
from ..model import Claim
from .problem import store_away

__all__ = ["Handling"]

_UNKEPT = frozenset({409, 425, 429})  # what the same request may not get again
# With these the server would send what the app never puts into a message.
_SENT_BY_SERVER = ("http.response.pathsend", "http.response.zerocopysend")


class Handling:
    """Runs the app under a claim and forwards its response.

    The claim is settled before the last message is forwarded, so that a response that is lost on
    its way is replayed and the request not handled again.
    """

    def __init__(self, errand: Errand, claim: Claim, send: Send) -> None:
        self._errand = errand
        self._claim = claim
        self._send = send
        self._captured = Captured()
        self._settled = False
        self._gone = False

    async def run(
        self, app: ASGIApp, scope: Scope, receive: Receive, sent: float, docs: str
    ) -> None:
        """Run the app; whatever it raises goes on to the server."""
        extensions = scope.get("extensions") or {}
        if any(name in extensions for name in _SENT_BY_SERVER):
            scope["extensions"] = {
                name: value for name, value in extensions.items() if name not in _SENT_BY_SERVER
            }
        run = await self._errand.dedup.engine.run(
            lambda: app(scope, receive, self._forward),
            self._claim,
            lease=self._errand.lease,
            sent=sent,
        )
        if not self._settled:
            await self._end_without_response(run)
        if run.cancelled:
            raise asyncio.CancelledError
        if isinstance(run.error, LeaseLost) and self._captured.status is None:
            await store_away().answer(self._send, docs)
        elif run.error is not None:
            raise run.error

    async def _forward(self, message: Message) -> None:
        self._captured.note(message)
        if is_last(message) and not self._settled:
            await self._settle()
        if not self._gone:
            await self._deliver(message)

    async def _deliver(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:
            # The client left, and will ask again: the app may finish what is kept for it.
            if self._captured.encode() is None:
                raise
            self._gone = True

    async def _settle(self) -> None:
        """Complete or release by the status, before the client can know it."""
        self._settled = True
        status = self._captured.status
        if status is None or status in _UNKEPT or status >= 500:  # noqa: PLR2004 - server errors
            unkept = Retry(f"the app answered {status}")
            await self._errand.settle(self._claim, unkept, status=status)
        else:
            kept = self._captured.encode()
            await self._errand.settle(self._claim, None, kept, status=status)

    async def _end_without_response(self, run: Run) -> None:
        error = run.error or Retry("the app returned without a complete response")
        await self._errand.settle(self._claim, error, duration=run.duration)
