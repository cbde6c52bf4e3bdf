"""What senders are told, and the first response kept for those who ask again."""

from __future__ import annotations

import json
from collections.abc import Awaitable

from ..errors import RejectedDelivery
from ..policy import whole_seconds
from ..providers import Preset
from .types import Message, Send

__all__ = [
    "BODILESS",
    "FILES",
    "Captured",
    "acknowledge",
    "acknowledge_claimed",
    "refuse",
    "replay",
    "respond",
]

Headers = list[tuple[bytes, bytes]]

LARGEST_RESULT = 64 * 1024
BODILESS = frozenset({204, 205, 304})
# With these the server sends by itself what the app never puts into a message.
FILES = ("http.response.pathsend", "http.response.zerocopysend")
_JSON = (b"content-type", b"application/json")
_CLAIMED = {
    duplicate: json.dumps({"received": True, "duplicate": duplicate}).encode()
    for duplicate in (False, True)
}
# Never replayed: they belong to one connection or one client.
_UNKEPT = frozenset({b"set-cookie", b"date", b"connection", b"transfer-encoding", b"keep-alive"})


async def respond(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """Send a complete response, without its body where HTTP allows none for the status."""
    if status in BODILESS:
        body, headers = b"", [pair for pair in headers if pair[0] != b"content-type"]
    else:
        headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def acknowledge(send: Send, preset: Preset) -> Awaitable[None]:
    """Send the acknowledgement a provider understands."""
    headers = [(b"content-type", preset.ack_content_type.encode())] if preset.ack_body else []
    return respond(send, preset.ack_status, preset.ack_body, headers)


def acknowledge_claimed(send: Send, preset: Preset, *, duplicate: bool) -> Awaitable[None]:
    """Acknowledge, and say whether the event was known."""
    return respond(send, preset.ack_status, _CLAIMED[duplicate], [_JSON])


async def refuse(send: Send, rejection: RejectedDelivery) -> None:
    """Tell a sender what was wrong, as JSON."""
    headers: Headers = [_JSON]
    body = json.dumps({"error": rejection.code, "detail": rejection.detail}).encode()
    if rejection.retry_after is not None:
        headers.append((b"retry-after", b"%d" % whole_seconds(rejection.retry_after)))
    await respond(send, rejection.status, body, headers)


class Captured:
    """A response on its way out, kept for later copies of the event while it is small enough."""

    def __init__(self) -> None:
        self.status: int | None = None
        self._headers: Headers = []
        self._chunks: list[bytes] = []
        self._size = 0

    @property
    def fits(self) -> bool:
        """Whether it is small enough so far."""
        return self._size <= LARGEST_RESULT

    def note(self, message: Message) -> None:
        """Take in one message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._headers = [
                (bytes(name), bytes(value))
                for name, value in message.get("headers", ())
                if name.lower() not in _UNKEPT and name.lower() != b"content-length"
            ]
        elif message["type"] == "http.response.body":
            chunk = message.get("body", b"")
            self._size += len(chunk)
            if self.fits:
                self._chunks.append(chunk)
        elif message["type"] in FILES:
            self._size = LARGEST_RESULT + 1

    def encode(self) -> bytes | None:
        """Return the response as bytes, or ``None`` when it is too large to keep.

        One line of JSON, the status and the headers, is followed by the exact body.
        """
        if not self.fits:
            return None
        headers = [
            [name.decode("latin-1"), value.decode("latin-1")] for name, value in self._headers
        ]
        return json.dumps([self.status, headers]).encode() + b"\n" + b"".join(self._chunks)


async def replay(send: Send, result: bytes) -> None:
    """Send a response that :meth:`Captured.encode` kept, marked ``Idempotent-Replayed``."""
    head, _, body = result.partition(b"\n")
    status, pairs = json.loads(head)
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
    await respond(send, status, body, [*headers, (b"idempotent-replayed", b"true")])
