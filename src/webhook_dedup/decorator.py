"""``@deduplicate``: the same engine around one function."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, ParamSpec, Protocol, TypeVar, cast, overload

from .calls import OncePerEvent, by_expression, by_key
from .contracts import Store, need
from .decorated import Decorated, decorated, scope_of
from .dedup import Dedup
from .errors import ConfigError
from .guards import Guard, Guards
from .model import Remembers
from .policy import Policy, check_policy
from .providers import Expression

__all__ = ["deduplicate"]

P = ParamSpec("P")
T = TypeVar("T")

_KeyFunction = Callable[..., object]


class _Decorator(Protocol):
    """Keeps what a function takes, and returns ``None`` beside what it returns."""

    # Of a coroutine function both must make the same type: where they differ, as with Awaitable,
    # mypy gives up parameters and result for any Any among them, such as dict[str, Any].
    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, T]], /
    ) -> Decorated[P, T | None]: ...
    @overload
    def __call__(self, function: Callable[P, T], /) -> Decorated[P, T | None]: ...


def deduplicate(
    store: Dedup | Store | str,
    *,
    key: Callable[..., object] | None = None,
    event_id: Expression | None = None,
    scope: str | None = None,
    policy: Policy | None = None,
    guards: Iterable[Guard] = (),
) -> _Decorator:
    """Make a function run once per event.

    On a Starlette or FastAPI endpoint that has the request among its arguments give ``event_id``,
    on any function give ``key``::

        @app.post("/webhooks/agent")
        @deduplicate("redis://localhost", event_id="id")
        async def hook(request: Request): ...

        @deduplicate(store, key=lambda event: event["id"])
        async def handle(event): ...

    The decorated function is awaited; a plain ``def`` runs in a thread. ``.sync(…)`` calls it from
    code without an event loop, such as a Celery task or a Flask view.

    - First call: the function runs under a claim. If it raises, the claim is released and the
      exception goes on to the caller; otherwise the event is remembered for the policy's TTL.
      A response of an endpoint that is no 2xx releases it too. Out of an endpoint what this
      library raises, :class:`Retry` for example, goes on as an ``HTTPException`` with status 503.
    - The event is done: nothing runs and ``None`` is returned; an endpoint answers 200
      ``{"received": true, "duplicate": true}``.
    - The function raised :class:`Discard`: the event is done and ``None`` is returned; an endpoint
      goes on with an ``HTTPException`` with status 200, so that what it wrote is rolled back.
    - Another caller is inside: :class:`InProgress` is raised, to be tried again; an endpoint
      answers 503 with ``Retry-After``.

    Args:
        store: A store, its URL, or a :class:`Dedup` shared with the middleware.
        key: Called with the function's arguments; returns the event id, text or an integer.
        event_id: Where the event id is in the endpoint's request: ``"header:Name"``,
            ``"form:field"``, a JMESPath into the JSON body, or a function of the parsed request.
        scope: Who deduplicates; the function's qualified name by default. Renaming the function
            forgets its events unless a scope is given. Functions that one factory makes, and a
            method's objects and subclasses, have one name and skip each other's events: give each
            a scope, or put what differs into ``key``. A script's functions are in ``__main__``, and
            those that another program imports are not.
        policy: How events are treated; ``retries``, ``max_body`` and ``max_in_flight`` belong to
            the middleware.
        guards: Checks that may skip or defer a call; see :mod:`webhook_dedup.guards`. They look at
            the JSON of the request, or at the function's first argument, a method's behind
            ``self``.

    Raises:
        ConfigError: Not exactly one of ``key`` and ``event_id`` is given, or something does not
            fit; the message says what to write instead.
    """
    if (key is None) == (event_id is None):
        raise ConfigError("give @deduplicate either key=… or event_id=…")
    find = by_expression(event_id) if event_id is not None else by_key(cast(_KeyFunction, key))
    in_force = _checked(store, policy)
    checked = Guards(guards)
    checked.need_subject("@deduplicate")
    checked.must_fit(in_force.handler_timeout)

    def decorate(function: Callable[..., Any]) -> Any:
        name = scope_of(function, scope)
        return decorated(function, store, OncePerEvent(function, name, policy, find, checked))

    return decorate


def _checked(store: Dedup | Store | str, policy: Policy | None) -> Policy:
    """Return the policy in force, if the store can serve it."""
    check_policy(policy)
    dedup = store if isinstance(store, Dedup) else Dedup(store)
    in_force = policy or dedup.policy
    if in_force.on_mismatch == "reject":
        need(dedup.store, Remembers.FINGERPRINT, "on_mismatch='reject'")
    return in_force
