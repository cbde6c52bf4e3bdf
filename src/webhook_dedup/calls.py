"""Calls of one function, of which one per event runs."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from . import endpoint
from .dedup import Dedup
from .endpoint_requests import BodyGone, read
from .errors import (
    AlreadyDone,
    ConfigError,
    Discard,
    InProgress,
    LeaseLost,
    RejectedDelivery,
    Skipped,
    StoreError,
    WebhookDedupError,
)
from .guards import Guards, Passage
from .identify import data_of, stand_in_id
from .model import Claim, Event, Key, Outcome, fingerprint_of
from .observe.record import Kind, Record, skip
from .operation import Operation
from .policy import DEFAULT_TTL, Policy
from .providers import Expression, Parsed, compile_extractor, event_id_of
from .run import Run
from .threads import call
from .verdict import judge

__all__ = ["OncePerEvent", "by_expression", "by_key"]

# An odd id that JSON can hold may be the sender's mistake, any other is the program's.
_SENT = (str, int, float, list, dict, type(None))

Find = Callable[[Parsed | None, tuple[Any, ...], dict[str, Any]], str | None]
"""Takes a call's request, if it has one, and arguments; finds its event id."""


def by_key(key: Callable[..., object]) -> Find:
    """Find the event id with a function of the call's arguments.

    Raises:
        ConfigError: It is no function.
    """
    if not callable(key):
        raise ConfigError(
            f"@deduplicate(key=…) takes a function of the arguments, got {key!a}; "
            "event_id=… names a field of an endpoint's request"
        )

    def find(_: Parsed | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        found = key(*args, **kwargs)
        if not isinstance(found, _SENT):
            raise ConfigError(
                f"@deduplicate needs a key=… that returns text or an integer, got {found!a}; "
                "write for example key=lambda order: str(order.id)"
            )
        return event_id_of(found)

    return find


def by_expression(expression: Expression) -> Find:
    """Find the event id in the call's request."""
    extract = compile_extractor(expression)

    def find(request: Parsed | None, *_: Any) -> str | None:
        if request is None:
            raise ConfigError(
                "@deduplicate(event_id=…) reads the request, and none is among the arguments: "
                "declare 'request: Request', or use key=… on a function"
            )
        return extract(request)

    return find


class OncePerEvent:
    """A function that runs once per event.

    A function that has a Starlette or FastAPI request among its arguments is an endpoint: a call
    that does not run is answered with a response, one that runs is judged by its response's status,
    and what this library raises is turned into an ``HTTPException``.

    Args:
        function: What runs.
        name: The scope of its events.
        policy: In force in place of the ``Dedup``'s.
        find: Finds the event id of a call.
        guards: Checks that may skip or defer a call.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        policy: Policy | None,
        find: Find,
        guards: Guards,
    ) -> None:
        self._function = function
        self._name = name
        self._policy = policy
        self._find = find
        self._guards = guards
        self._first = _first_parameter(function) if guards else (0, "")

    async def __call__(self, dedup: Dedup, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Identify the call and run the function, or answer for it."""
        policy = self._policy or dedup.policy
        request = endpoint.request_among(args, kwargs)
        status_of: Callable[[Any], int | None] = _no_status
        if request is not None:
            status_of = functools.partial(endpoint.status_of, args, kwargs)
        event: Event | None = None
        began = False

        async def work() -> Any:
            nonlocal began
            began = True
            return await call(self._function, *args, **kwargs)

        try:
            parsed = None if request is None else await read(request)
            event = self._event(self._find(parsed, args, kwargs), parsed, policy)
            data = self._data(parsed, args, kwargs) if self._guards else None
            passage = Passage(event, data, dedup.engine, dedup.record, status_of)
            self._refuse_by_itself(passage)
            guarded = self._guards.around(passage, work)
            ttl = policy.ttl or DEFAULT_TTL
            one = _Call(dedup, event, policy.lease, ttl, policy, status_of)
            return await one.answer(guarded)
        except BodyGone as exc:
            raise ConfigError(exc.detail) from exc
        except WebhookDedupError as exc:
            if isinstance(exc, RejectedDelivery) and not began:
                self._tell_rejected(dedup, event, exc)
            if request is None:
                return _return(exc)
            return endpoint.fail(exc) if began else endpoint.answer(exc)

    def _tell_rejected(self, dedup: Dedup, event: Event | None, exc: RejectedDelivery) -> None:
        why: dict[str, Any] = {"reason": exc.code, "detail": exc.detail, "status": exc.status}
        if event is None:
            dedup.record(Record(Kind.REJECTED, self._name, **why))
        else:
            dedup.record.about(Kind.REJECTED, event, **why)

    def _data(self, parsed: Parsed | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what guards look at: the JSON of a request, or a function's first argument."""
        if parsed is not None:
            return data_of(parsed)
        position, name = self._first
        return args[position] if len(args) > position else kwargs.get(name)

    def _refuse_by_itself(self, passage: Passage) -> None:
        skip = self._guards.skips(passage.event, passage.data)
        if skip is not None:
            reason, detail = skip
            passage.record.about(Kind.SKIPPED, passage.event, reason=reason, detail=detail)
            raise Skipped(reason, detail)

    def _event(self, event_id: str | None, parsed: Parsed | None, policy: Policy) -> Event:
        body = _body(parsed, event_id, policy)
        if event_id is None:
            event_id = stand_in_id(body, policy)
        return Event(
            key=None if event_id is None else Key(self._name, event_id),
            source=self._name,
            id=event_id or "",
            fingerprint=None if body is None else fingerprint_of(body),
        )


@dataclass(frozen=True, slots=True)
class _Call(Operation):
    """One call of a function, whose event is known.

    Attributes:
        policy: In force.
        status_of: Finds the HTTP status of what the function returned.
    """

    policy: Policy
    status_of: Callable[[Any], int | None]

    async def answer(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Run ``work`` if the event is new. What it returns is returned, what it raises raised.

        Raises:
            AlreadyDone: The event is done.
            InProgress: Another caller is inside.
        """
        claim, sent = await self._claim()
        if claim is not None and not claim.fresh:
            self._refuse_copy(claim)
            claim = None
        if claim is None:
            self.tell(Kind.STARTED)
        run = await self.dedup.engine.run(
            work, claim, lease=self.lease, sent=sent, timeout=self.policy.handler_timeout
        )
        await self._settle(claim, run)
        if run.cancelled:
            raise asyncio.CancelledError
        if run.error is not None:
            raise run.error
        return run.value

    async def _claim(self) -> tuple[Claim | None, float]:
        if self.event.key is None:
            return None, monotonic()
        try:
            claim, sent = await self.bid()
        except StoreError:
            if self.policy.on_store_error != "process":
                raise
            return None, monotonic()
        if claim.outcome is Outcome.MISMATCH and self.policy.on_mismatch == "reject":
            raise RejectedDelivery(
                409, "body_changed", "this event id came before with another body"
            )
        return claim, sent

    def _refuse_copy(self, claim: Claim) -> None:
        observed = "observed only, run anyway" if self.policy.observe_only else None
        self.dedup.record(skip(Kind.SKIPPED, self.event, claim, detail=observed))
        if not observed:
            if claim.done:
                raise AlreadyDone(claim.key)
            raise InProgress(claim.key, claim.remaining)

    async def _settle(self, claim: Claim | None, run: Run) -> None:
        verdict = judge(run.error, None if run.error else self.status_of(run.value))
        fields: dict[str, Any] = {"status": verdict.status, "duration": run.duration}
        lost = isinstance(run.error, LeaseLost)
        if claim is None or (claim in run.lost and not verdict.done):
            self.tell_end(verdict, fields, not lost)
        else:  # a lock within may be what was lost
            await self.end(claim, verdict, lost=lost, **fields)


def _body(parsed: Parsed | None, event_id: str | None, policy: Policy) -> bytes | None:
    """Return the body of a call's request. One that is gone is an error only if it is needed."""
    if parsed is None:
        return None
    hashed = event_id is None and policy.on_missing_id == "hash_body"
    return parsed.body if hashed or policy.on_mismatch == "reject" else parsed.kept_body


def _first_parameter(function: Callable[..., Any]) -> tuple[int, str]:
    """Return where the first parameter stands, behind the object of a method, and its name."""
    names = [*inspect.signature(function).parameters, ""]
    position = 1 if names[0] in {"self", "cls"} else 0
    return position, names[position]


def _no_status(_: Any) -> None:
    return None


def _return(reason: WebhookDedupError) -> None:
    """Answer the call of a plain function: there is nothing to return for an event that is done."""
    if not isinstance(reason, (AlreadyDone, Discard)):
        raise reason
