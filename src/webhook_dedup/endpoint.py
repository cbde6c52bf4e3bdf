"""Functions that answer requests: the request among their arguments, and its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from .errors import (
    AlreadyDone,
    Discard,
    HandlerTimeout,
    InProgress,
    LeaseLost,
    OverBudget,
    RejectedDelivery,
    Retry,
    StoreError,
    WebhookDedupError,
)
from .policy import RETRY_AFTER, whole_seconds

if TYPE_CHECKING:
    from starlette.responses import Response

__all__ = ["answer", "fail", "request_among", "status_of"]


def request_among(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the Starlette or FastAPI request among the arguments of a call, if there is one."""
    for value in (*args, *kwargs.values()):
        if isinstance(getattr(value, "scope", None), dict) and hasattr(value, "body"):
            return value
    return None


def status_of(args: tuple[Any, ...], kwargs: dict[str, Any], returned: Any) -> int | None:
    """Return the status of what an endpoint returned, ``None`` if it has none.

    Where it returned no response, that is the status which it set on the ``Response`` among its
    arguments, made by FastAPI for this purpose.
    """
    from starlette.responses import Response  # noqa: PLC0415 - only endpoints need Starlette

    given = [value for value in (*args, *kwargs.values()) if isinstance(value, Response)]
    for response in (returned, *given):
        status = getattr(response, "status_code", None)
        if isinstance(status, int):
            return status
    return None


def answer(reason: WebhookDedupError) -> Response:
    """Return the response to a request whose endpoint did not run."""
    from starlette.responses import JSONResponse  # noqa: PLC0415 - only endpoints need Starlette

    if isinstance(reason, AlreadyDone):
        return JSONResponse({"received": True, "duplicate": True})
    if isinstance(reason, Discard):
        return JSONResponse({"received": True})
    refusal = _refusal(reason)
    content = {"error": refusal.code, "detail": refusal.detail}
    return JSONResponse(content, refusal.status, _headers(refusal))


def fail(reason: WebhookDedupError) -> NoReturn:
    """Raise what the framework answers with for an endpoint that ran and raised.

    If a response were returned, the framework would commit what its dependencies opened, and run
    background tasks.
    """
    from starlette.exceptions import HTTPException  # noqa: PLC0415 - only endpoints need Starlette

    if isinstance(reason, (AlreadyDone, Discard)):
        raise HTTPException(200, "received") from reason
    refusal = _refusal(reason)
    raise HTTPException(refusal.status, refusal.detail, _headers(refusal)) from reason


def _refusal(reason: WebhookDedupError) -> RejectedDelivery:
    """Return what the sender is told of an event that is not done.

    Raises:
        WebhookDedupError: The reason itself, which is for the developer.
    """
    if isinstance(reason, RejectedDelivery):
        return reason
    if isinstance(reason, InProgress):
        return _later("in_flight", "this event is being handled", reason.retry_after)
    if isinstance(reason, OverBudget):
        return _later("over_budget", str(reason))
    if isinstance(reason, (Retry, LeaseLost, HandlerTimeout, StoreError)):
        after = reason.after if isinstance(reason, Retry) else None
        return _later("not_handled", "the event was not handled", after)
    raise reason


def _later(code: str, detail: str, after: float | None = None) -> RejectedDelivery:
    after = RETRY_AFTER if after is None else after
    return RejectedDelivery(503, code, detail, retry_after=after)


def _headers(refusal: RejectedDelivery) -> dict[str, str]:
    after = refusal.retry_after
    return {} if after is None else {"retry-after": str(whole_seconds(after))}
