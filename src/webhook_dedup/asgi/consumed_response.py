"""A response that goes to nobody, because the sender was answered before."""

from __future__ import annotations

from ..admin.text import inert
from ..verdict import Refusal, succeeded
from .types import Message

__all__ = ["ConsumedResponse"]

LONGEST_SAID = 500  # characters
_MOST_BYTES = 4 * LONGEST_SAID  # none has more in UTF-8
_TEXT = (b"text/", b"json", b"xml", b"x-www-form-urlencoded")


class ConsumedResponse:
    """A ``send`` that consumes a response and keeps its status and, if it refuses, its beginning.

    Attributes:
        status: ``None`` until the response has begun.
        complete: Whether its last message has come.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self.complete = False
        self._said: bytearray | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if not succeeded(self.status) and _is_text(message):
                self._said = bytearray()
        elif message["type"] == "http.response.body":
            self.complete = self.complete or not message.get("more_body", False)
            if self._said is not None and len(self._said) < _MOST_BYTES:
                self._said += message.get("body", b"")[:_MOST_BYTES]

    def outcome(self) -> int:
        """Return the status; unless it is a success, a :class:`Refusal` with the text's beginning.

        Raises:
            RuntimeError: There was no response, or only the beginning of one.
        """
        if self.status is None:
            raise RuntimeError("the app returned without a response")
        if not self.complete:
            raise RuntimeError("the app returned without a complete response")
        if not self._said:
            return self.status
        line = " ".join(self._said.decode(errors="replace").split())
        return Refusal(self.status, inert(line)[:LONGEST_SAID])


def _is_text(start: Message) -> bool:
    headers = {name.lower(): value.lower() for name, value in start.get("headers", ())}
    kind = headers.get(b"content-type", b"text/")
    return b"content-encoding" not in headers and any(word in kind for word in _TEXT)
