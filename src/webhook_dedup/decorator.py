"""``@deduplicate``: the same engine around one function."""

from __future__ import annotations

import asyncio
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, ParamSpec, Protocol, cast

from .contracts import Store
from .dedup import Dedup
from .engine import Run, call
from .errors import ConfigError, Discard, InProgress, LeaseLost, RejectedDelivery, Retry, StoreError
from .model import Bid, Claim, Event, Key, Outcome, fingerprint_of, new_token
from .observe.record import Kind, Reason, about, skip
from .policy import DEFAULT_TTL, Policy
from .portal import call_in_portal, shared
from .providers import Expression, Parsed, compile_extractor
from .providers.extract import event_id_of
from .source import stand_in_id
from .verdict import Ending, judge

__all__ = ["Deduplicated", "deduplicate"]

P = ParamSpec("P")

SETTLE_PATIENCE = 5.0


class Deduplicated(Protocol[P]):
    """A function under :func:`deduplicate`."""

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Run it for a new event; return ``None`` for one that is done."""

    def sync(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Do the same from code without an event loop, and block until it has ended.

        The store then lives on an event loop in a thread of its own, so within one process call a
        function either here or from async code.
        """


def deduplicate(
    store: Dedup | Store | str,
    *,
    key: Callable[..., object] | None = None,
    event_id: Expression | None = None,
    scope: str | None = None,
    policy: Policy | None = None,
) -> Callable[[Callable[P, Any]], Deduplicated[P]]:
    """Make a function run once per event.

    On a Starlette or FastAPI endpoint give ``event_id``; on any function give ``key``::

        @app.post("/webhooks/agent")
        @deduplicate("redis://localhost", event_id="id")
        async def hook(request: Request): ...

        @deduplicate(store, key=lambda event: event["id"])
        async def handle(event): ...

    The decorated function is awaited; a plain ``def`` runs in a thread. ``.sync(…)`` calls it from
    code without an event loop, such as a Celery task or a Flask view.

    - First call: the function runs under a claim. If it raises, the claim is released and the
      exception goes on to the caller; otherwise the event is remembered for the policy's TTL.
    - The event is done: nothing runs and ``None`` is returned; an endpoint answers 200
      ``{"received": true, "duplicate": true}``.
    - Another caller is inside: :class:`InProgress` is raised, to be tried again; an endpoint
      answers 503 with ``Retry-After``.

    Args:
        store: A store, its URL, or a :class:`Dedup` shared with the middleware.
        key: Called with the function's arguments; returns the event id, text or an integer.
        event_id: Where the event id is in the endpoint's request: ``"header:Name"``,
            ``"form:field"``, a JMESPath into the JSON body, or a function of the parsed request.
            On a function whose first argument is a mapping, a JMESPath into that.
        scope: Who deduplicates; the function's qualified name by default. Renaming the function
            forgets its events unless a scope is given.
        policy: How events are treated; ``retries``, ``max_body`` and ``max_in_flight`` belong to
            the middleware.

    Raises:
        ConfigError: Not exactly one of ``key`` and ``event_id`` is given, or one is invalid.
    """
    if (key is None) == (event_id is None):
        raise ConfigError("give @deduplicate either key=… or event_id=…")

    def decorate(function: Callable[P, Any]) -> Deduplicated[P]:
        name = scope or f"{function.__module__}.{function.__qualname__}"
        once: _Once
        if event_id is not None:
            once = _EndpointOnce(function, name, policy, event_id)
        else:
            once = _FunctionOnce(function, name, policy, cast(Callable[..., object], key))

        @functools.wraps(function)
        async def run(*args: P.args, **kwargs: P.kwargs) -> Any:
            return await once(await shared(store), args, kwargs)

        def sync(*args: P.args, **kwargs: P.kwargs) -> Any:
            return call_in_portal(store, lambda dedup: once(dedup, args, kwargs))

        run.sync = sync  # type: ignore[attr-defined]
        return cast(Deduplicated[P], run)

    return decorate


class _Once(ABC):
    """A function that runs once per event."""

    def __init__(self, function: Callable[..., Any], name: str, policy: Policy | None) -> None:
        self._function = function
        self._name = name
        self._policy = policy

    @abstractmethod
    async def __call__(self, dedup: Dedup, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Identify the call and run the function, or answer for it."""

    def _event(self, event_id: str | None, body: bytes | None, policy: Policy) -> Event:
        if event_id is None:
            event_id = stand_in_id(body, policy)
        return Event(
            key=None if event_id is None else Key(self._name, event_id),
            source=self._name,
            id=event_id or "",
            fingerprint=None if body is None else fingerprint_of(body),
        )

    async def _run(
        self, dedup: Dedup, event: Event, policy: Policy, work: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Run ``work`` if the event is new.

        Returns:
            What it returned, ``None`` if it raised ``Discard``.

        Raises:
            _AlreadyDone: The event is done.
            InProgress: Another caller is inside.
        """
        claim, sent = await self._claim(dedup, event, policy)
        if claim is not None and not claim.fresh:
            dedup.record(skip(Kind.SKIPPED, event, claim))
            if not policy.observe_only:
                raise _AlreadyDone if claim.done else InProgress(claim.key, claim.remaining)
            claim = None
        run = await dedup.engine.run(
            work, claim, lease=policy.lease, sent=sent, timeout=policy.handler_timeout
        )
        await self._settle(dedup, event, policy, claim, run)
        if run.cancelled:
            raise asyncio.CancelledError
        if run.error is not None and not isinstance(run.error, Discard):
            raise run.error
        return run.value

    async def _claim(
        self, dedup: Dedup, event: Event, policy: Policy
    ) -> tuple[Claim | None, float]:
        if event.key is None:
            return None, monotonic()
        bid = Bid(str(event.key), new_token(), policy.lease, event.fingerprint)
        try:
            claim, sent = await dedup.engine.claim(bid)
        except StoreError as exc:
            dedup.record(about(Kind.STORE_ERROR, event, detail=str(exc)))
            if policy.on_store_error != "process":
                raise
            return None, monotonic()
        if claim.outcome is Outcome.MISMATCH and policy.on_mismatch == "reject":
            raise RejectedDelivery(
                409, "body_changed", "this event id came before with another body"
            )
        return claim, sent

    async def _settle(
        self, dedup: Dedup, event: Event, policy: Policy, claim: Claim | None, run: Run
    ) -> None:
        status = getattr(run.value, "status_code", None)
        verdict = judge(run.error, status if isinstance(status, int) else None)
        kind, detail = Kind.FAILED, verdict.detail or None
        if verdict.ending in (Ending.DONE, Ending.DISCARD):
            kind = Kind.SUCCEEDED if verdict.ending is Ending.DONE else Kind.SKIPPED
            if claim is not None:
                ttl = policy.ttl or DEFAULT_TTL
                kept = await dedup.engine.complete(event, claim, ttl, patience=SETTLE_PATIENCE)
                if kept is False:
                    kind, detail = Kind.LEASE_LOST, "another caller has the event now"
        elif claim is not None:
            await dedup.engine.release(event, claim)
        discarded = Reason.DISCARDED.value if kind is Kind.SKIPPED else None
        dedup.record(
            about(
                kind,
                event,
                reason=discarded,
                status=verdict.status,
                detail=detail,
                duration=run.duration,
            )
        )


class _AlreadyDone(Exception):
    """The event of a call is done."""


class _FunctionOnce(_Once):
    """Any function, with a key made from its arguments."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        policy: Policy | None,
        key: Callable[..., object],
    ) -> None:
        super().__init__(function, name, policy)
        self._key = key

    async def __call__(self, dedup: Dedup, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        policy = self._policy or dedup.policy
        event = self._event(event_id_of(self._key(*args, **kwargs)), None, policy)
        try:
            return await self._run(
                dedup, event, policy, lambda: call(self._function, *args, **kwargs)
            )
        except _AlreadyDone:
            return None


class _EndpointOnce(_Once):
    """A Starlette or FastAPI endpoint, with the event id in its request."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        policy: Policy | None,
        event_id: Expression,
    ) -> None:
        super().__init__(function, name, policy)
        self._extract = compile_extractor(event_id)

    async def __call__(self, dedup: Dedup, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        policy = self._policy or dedup.policy
        request = self._request(args, kwargs)
        try:
            body = await request.body()
            parsed = Parsed(request.scope["headers"], body, method=request.method)
            event = self._event(self._extract(parsed), body, policy)
            return await self._run(
                dedup, event, policy, lambda: call(self._function, *args, **kwargs)
            )
        except _AlreadyDone:
            return _answer(200, {"received": True, "duplicate": True})
        except RejectedDelivery as exc:
            return _refuse(exc.status, exc.code, exc.detail, exc.retry_after)
        except InProgress as exc:
            return _refuse(503, "in_flight", "this event is being handled", exc.retry_after)
        except (Retry, LeaseLost, StoreError) as exc:
            after = exc.after if isinstance(exc, Retry) else None
            return _refuse(503, "not_handled", "the event was not handled", after or 5.0)

    def _request(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for value in (*args, *kwargs.values()):
            if hasattr(value, "scope") and callable(getattr(value, "body", None)):
                return value
        raise ConfigError(
            f"@deduplicate(event_id=…) on {self._name} reads the request, and none is among its "
            "arguments: declare 'request: Request', or use key=… on a function"
        )


def _refuse(status: int, code: str, detail: str, retry_after: float | None) -> Any:
    headers = {} if retry_after is None else {"retry-after": str(max(1, math.ceil(retry_after)))}
    return _answer(status, {"error": code, "detail": detail}, headers)


def _answer(status: int, content: dict[str, object], headers: dict[str, str] | None = None) -> Any:
    from starlette.responses import JSONResponse  # noqa: PLC0415 - only endpoints need Starlette

    return JSONResponse(content, status, headers)
