"""Answers in place of the app's, as ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

import json

from ..asgi.responses import respond
from ..asgi.types import Send
from ..errors import RejectedDelivery
from ..policy import RETRY_AFTER, whole_seconds

__all__ = ["Problem", "caller_unknown", "no_response_kept", "store_away", "unusable"]


class Problem(Exception):
    """A request is answered here.

    Args:
        status: The HTTP status.
        code: One stable snake_case word for programs.
        title: The same for every request with this problem.
        detail: One sentence about this request.
        retry_after: Seconds after which to try again, or ``None``.
    """

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str,
        *,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self._content = {"title": title, "status": status, "detail": detail, "code": code}
        self._status = status
        self._retry_after = retry_after

    async def answer(self, send: Send, docs: str) -> None:
        """Send it, with a link to the documentation."""
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"link", f'<{docs}>; rel="describedby"; type="text/html"'.encode()),
        ]
        if self._retry_after is not None:
            headers.append((b"retry-after", b"%d" % whole_seconds(self._retry_after)))
        body = json.dumps({"type": docs, **self._content}).encode()
        await respond(send, self._status, body, headers)


def unusable(rejection: RejectedDelivery) -> Problem:
    """Return the problem of a request whose key or body cannot be used."""
    title = "The request cannot be used"
    return Problem(rejection.status, rejection.code, title, rejection.detail)


def caller_unknown() -> Problem:
    """Return the problem of a request that does not show who sent it."""
    return Problem(
        400,
        "caller_unknown",
        "The sender is unknown",
        "An idempotency key belongs to its sender, and this request has no credentials that tell "
        "who that is; the operator may give IdempotencyMiddleware a caller=… that can.",
    )


def no_response_kept() -> Problem:
    """Return the problem of a request that is done and whose response was too large to keep."""
    return Problem(
        409,
        "response_not_kept",
        "The response was not kept",
        "This request has been handled. Its response was too large to be stored, so it cannot be "
        "sent again; ask for the current state of the resource instead.",
    )


def store_away() -> Problem:
    """Return the problem of a request that comes while the store does not answer."""
    return Problem(
        503,
        "store_unavailable",
        "Requests with a key cannot be handled now",
        "It was not handled to its end; send the same request again.",
        retry_after=RETRY_AFTER,
    )
