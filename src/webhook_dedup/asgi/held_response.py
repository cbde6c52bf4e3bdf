"""A response whose end is held back until the run that makes it has ended."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

from .responses import BODILESS, FILES, Captured
from .types import Message, Receive, Scope, Send

__all__ = ["HeldResponse", "without_files"]

WAKE_AFTER = 0.05
PATIENCE = 1.0

_START = "http.response.start"
_TRAILERS = "http.response.trailers"
_CONTENT = ("http.response.body", *FILES)


class HeldResponse:
    """``send`` and ``receive`` of an app whose response is forwarded as it comes, save its end.

    Apps work on after their last message: background tasks and the exit code of FastAPI's
    dependencies with ``yield`` run then, and may fail. So the client gets the end of a response
    only when the app has returned. Two things are held back: the start, until some of the body is
    forwarded, and everything from the message that completes the body for the client. By its
    ``content-length`` that may be earlier than the last message.

    A client that leaves earlier asks again, and is then answered with this response. So the app is
    not told that it left, unless the response has become too large to be kept: then it ends
    incomplete.

    A commit takes milliseconds. What goes on for a second is work that was put behind the response
    so that the client need not wait for it: then the client is answered early.

    Args:
        scope, receive, send: The request.
        answer: Settles by a complete response and forwards it; called when patience has ended.

    Attributes:
        captured: All of the response so far, whether it has left or not.
        begun: Whether something of it has left, or is leaving.
        complete: Whether the app has sent all of it.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        answer: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self.captured = Captured()
        self.begun = False
        self.complete = False
        self._receive = receive
        self._send = send
        self._held: list[Message] = []
        self._head = scope["method"] == "HEAD"
        self._missing = math.inf  # bytes until the client has all of the body
        self._trailers = False
        self._listening: set[asyncio.Task[Any]] = set()
        self._answer = answer
        self._patient = False
        self._patience: asyncio.TimerHandle | None = None
        self._early: asyncio.Task[None] | None = None
        self._outgrown = asyncio.Event()  # it is too large to be kept
        self._gone = False  # the client has left
        self._abandoned = False  # the app was told that it has

    async def send(self, message: Message) -> None:
        """Take a message of the app's; forward it, or hold it back.

        Raises:
            RuntimeError: The response was complete before, and this is more than another end of it.
        """
        kind = message["type"]
        if self.complete:
            if kind in _CONTENT and not message.get("body"):
                return
            raise RuntimeError(f"the app sent {kind} after its response was complete")
        self.captured.note(message)
        if not self.captured.fits:
            self._outgrown.set()
        if kind == _START:
            self._missing = 0 if self._head else _body_size(message)
            self._trailers = message.get("trailers", False)
        elif _is_last(message):
            self._missing = 0
            started = self.captured.status is not None
            if (kind == _TRAILERS) == self._trailers and started and not self._abandoned:
                self._end()
        elif kind in _CONTENT:
            self._missing -= len(message.get("body", b""))
        if kind in _CONTENT and self._missing > 0:
            self._held.append(message)
            await self.forward()
        elif kind in _CONTENT or kind == _START or self._held:
            self._held.append(message)
        else:
            await self._pass_on(message)

    async def forward(self) -> None:
        """Forward what is held back."""
        held, self._held = self._held, []
        self.begun = self.begun or bool(held)
        for message in held:
            await self._pass_on(message)

    async def _pass_on(self, message: Message) -> None:
        if self._gone:
            return
        try:
            await self._send(message)
        except OSError:
            if not self.captured.fits:
                raise
            self._gone = True

    async def receive(self) -> Message:
        """Receive for the app; once its response is complete, tell it that the client has left.

        A server says so when it has sent the end, and an app may wait for it before it returns.
        """
        task = asyncio.current_task()
        if not self.complete and task is not None:
            self._listening.add(task)
            try:
                return await self._hear()
            except asyncio.CancelledError:
                if task in self._listening or _is_cancelled(task):
                    raise
            finally:
                self._listening.discard(task)
        return {"type": "http.disconnect"}

    async def _hear(self) -> Message:
        """Receive. As long as the response can still be kept, hide that the client has left."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            await self._outgrown.wait()  # or until the end of the response wakes its listeners
            self._abandoned = True
        return message

    def _end(self) -> None:
        """Note that the app has sent all, and wake those of its tasks that go on listening."""
        self.complete = True
        loop = asyncio.get_running_loop()
        if not self._patient:
            self._patience = loop.call_later(PATIENCE, self._lose_patience)
        if self._listening:
            # Later, because most apps cancel theirs now, and would not know another cancellation.
            loop.call_later(WAKE_AFTER, self._wake)

    def _lose_patience(self) -> None:
        self._early = asyncio.ensure_future(self._answer())

    def stay_patient(self) -> None:
        """Give no early answer: an app that is cancelled may take a while to undo what it did."""
        self._patient = True
        if self._patience is not None:
            self._patience.cancel()

    async def end_patience(self) -> asyncio.Task[None] | None:
        """Wait for an early answer that is under way, when the app has returned.

        Returns:
            The answer, which may have failed on its way; ``None`` if there was none.
        """
        self.stay_patient()
        if self._early is not None:
            await asyncio.wait([self._early])
            self._early.exception()  # looked at, though the app's own may be the one that is raised
        return self._early

    def _wake(self) -> None:
        while self._listening:
            self._listening.pop().cancel()


def without_files(scope: Scope) -> Scope:
    """Return a scope whose app sends files itself.

    What a server would read by itself could be gone by the end of the run.
    """
    extensions = scope.get("extensions") or {}
    if not any(name in extensions for name in FILES):
        return scope
    left = {name: value for name, value in extensions.items() if name not in FILES}
    return {**scope, "extensions": left}


def _is_last(message: Message) -> bool:
    """Whether a message ends the body, or the trailers after it."""
    kind = message["type"]
    if kind == _TRAILERS:
        return not message.get("more_trailers", False)
    return kind in _CONTENT and not message.get("more_body", False)


def _body_size(start: Message) -> float:
    """Return how many bytes a client waits for; without a length it waits for the last message."""
    if start["status"] in BODILESS:
        return 0
    for name, value in start.get("headers", ()):
        if name.lower() == b"content-length" and value.isdigit():
            return int(value[:20])
    return math.inf


def _is_cancelled(task: asyncio.Task[Any]) -> bool:
    """Whether somebody else has cancelled a task that was woken by a cancellation.

    Before Python 3.11 this cannot be told.
    """
    uncancel = getattr(task, "uncancel", None)
    return uncancel is not None and uncancel() > 0
