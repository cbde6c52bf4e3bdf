"""``@deduplicate``: the same engine around one function."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, Protocol, cast

from .calls import Once, by_expression, by_key
from .contracts import Store
from .dedup import Dedup, need
from .errors import ConfigError
from .guards import Guard, Guards
from .model import Remembers
from .policy import Policy
from .portal import call_in_portal, shared
from .providers import Expression

__all__ = ["Deduplicated", "deduplicate"]

P = ParamSpec("P")

_KeyFunction = Callable[..., object]


class Deduplicated(Protocol[P]):
    """A function under :func:`deduplicate`."""

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Run it for a new event; return ``None`` for one that is done."""

    def sync(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Do the same from code without an event loop, and block until it has ended.

        A :class:`Dedup` that is running, such as the middleware's, is asked on its own event loop,
        from any other thread. Every other store then lives on an event loop in a thread of its own,
        so within one process call a function either here or from async code.
        """


def deduplicate(
    store: Dedup | Store | str,
    *,
    key: Callable[..., object] | None = None,
    event_id: Expression | None = None,
    scope: str | None = None,
    policy: Policy | None = None,
    guards: Iterable[Guard] = (),
) -> Callable[[Callable[P, Any]], Deduplicated[P]]:
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
            forgets its events unless a scope is given.
        policy: How events are treated; ``retries``, ``max_body`` and ``max_in_flight`` belong to
            the middleware.
        guards: Checks that may skip or defer a call; see :mod:`webhook_dedup.guards`. They look at
            the JSON of the request, or at the function's first argument.

    Raises:
        ConfigError: Not exactly one of ``key`` and ``event_id`` is given, or something does not
            fit; the message says what to write instead.
    """
    if (key is None) == (event_id is None):
        raise ConfigError("give @deduplicate either key=… or event_id=…")
    find = by_expression(event_id) if event_id is not None else by_key(cast(_KeyFunction, key))
    _check(store, policy)
    checked = Guards(guards)

    def decorate(function: Callable[P, Any]) -> Deduplicated[P]:
        name = scope or f"{function.__module__}.{function.__qualname__}"
        once = Once(function, name, policy, find, checked)

        @functools.wraps(function)
        async def run(*args: P.args, **kwargs: P.kwargs) -> Any:
            return await once(await shared(store), args, kwargs)

        def sync(*args: P.args, **kwargs: P.kwargs) -> Any:
            return call_in_portal(store, lambda dedup: once(dedup, args, kwargs))

        run.sync = sync  # type: ignore[attr-defined]
        _keep_signature(run, function)
        return cast(Deduplicated[P], run)

    return decorate


def _check(store: Dedup | Store | str, policy: Policy | None) -> None:
    dedup = store if isinstance(store, Dedup) else Dedup(store)
    if (policy or dedup.policy).on_mismatch == "reject":
        need(dedup.store, Remembers.FINGERPRINT, "on_mismatch='reject'")


def _keep_signature(run: Any, function: Callable[..., Any]) -> None:
    """Show a framework that injects by annotation what it would have seen.

    Under ``from __future__ import annotations`` annotations are text, which frameworks may look up
    in the module of the outer function, where the user's names are unknown.
    """
    with contextlib.suppress(Exception):  # a name that exists only for type checkers, say
        run.__signature__ = inspect.signature(function, eval_str=True)
