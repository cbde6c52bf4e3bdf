"""``@idempotent``: a function whose first result is given to every caller."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from ..contracts import Store, need
from ..decorated import Decorated, decorated, scope_of
from ..dedup import Dedup
from ..errors import AlreadyDone, ConfigError
from ..keys import joined
from ..model import Event, Key, Remembers, fingerprint_of
from ..operation import Operation, key_text
from ..policy import DEFAULT_TTL, Duration, seconds
from ..threads import call
from .results import Results
from .waiting import claim_or_wait

__all__ = ["idempotent"]

P = ParamSpec("P")
T = TypeVar("T")


class _Decorator(Protocol):
    """Keeps what a function takes and returns."""

    # Of a coroutine function both must make the same type: where they differ, as with Awaitable,
    # mypy gives up parameters and result for any Any among them, such as dict[str, Any].
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, T]], /) -> Decorated[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, T], /) -> Decorated[P, T]: ...


def idempotent(
    store: Dedup | Store | str,
    *,
    key: Callable[..., object],
    wait: Duration = 0.0,
    fingerprint: Callable[..., object] | None = None,
    result_type: Any = None,
    lease: Duration = 30.0,
    ttl: Duration = DEFAULT_TTL,
    scope: str | None = None,
) -> _Decorator:
    """Run a function once per key, and return its first result to every later caller.

    ::

        @idempotent(store, key=lambda username, client_id, caller: (caller, client_id))
        async def create_inbox(username, client_id, caller) -> Inbox: ...

    - First call: the function runs, and its result is stored before it is returned.
    - Later calls return an equal result, in any process, for ``ttl``.
    - While the first one runs, others wait for its result for up to ``wait`` seconds and then
      raise :class:`InProgress`.
    - A function that raises stores nothing and may be called again.

    The decorated function is awaited; a plain ``def`` runs in a thread. ``.sync(…)`` calls it from
    code without an event loop.

    A result is stored as JSON and comes back as what it was: JSON values as they are, dataclasses,
    pydantic models and dicts whose keys are numbers (these need pydantic) by the return annotation.
    One that would not come back as it was raises :class:`UnstorableResult` and stores nothing: the
    call has failed and may be made again, although its effects have happened, so let the first test
    find it.

    Args:
        store: A store that keeps results, its URL, or a :class:`Dedup`.
        key: Called with the function's arguments; returns text, an integer, or a tuple of these.
            Put the caller into it, so that nobody is given the result of somebody else.
        wait: Seconds to wait for a first call that is still running.
        fingerprint: Called with the arguments; returns as JSON values what must be the same under
            one key. A call where it differs raises :class:`IdempotencyMismatch`. Arguments are not
            compared unless this says which, because sessions and clients differ in every call.
        result_type: What results are, in place of the return annotation.
        lease: Seconds after which a caller that fell silent is taken for dead.
        ttl: How long results are kept, 48 hours unless given.
        scope: What keys are apart by; the function's qualified name by default, as of
            :func:`deduplicate`.

    Raises:
        ConfigError: Something does not fit; the message says what to write instead.
        MissingPower: The store does not keep results.
    """
    _check(store, key, fingerprint)
    waits = seconds(wait, "wait", zero=True)
    lasting = seconds(lease, "lease"), seconds(ttl, "ttl")

    def decorate(function: Callable[..., Any]) -> Any:
        name = scope_of(function, scope)
        results = Results(function, result_type)

        async def answer(dedup: Dedup, args: Any, kwargs: Any) -> Any:
            results.check()
            compared = None if fingerprint is None else _digest(fingerprint(*args, **kwargs))
            event = _event(name, key(*args, **kwargs), compared)
            operation = Operation(dedup, event, *lasting)
            claim, sent = await claim_or_wait(operation, waits)
            if claim.fresh:
                work = functools.partial(call, function, *args, **kwargs)
                return await operation.run(work, claim, sent, results.encode)
            if claim.result is None:
                raise AlreadyDone(event.id)
            return results.decode(claim.result)

        return decorated(function, store, answer)

    return decorate


def _check(store: Dedup | Store | str, key: object, fingerprint: object) -> None:
    functions = {"key": key} if fingerprint is None else {"key": key, "fingerprint": fingerprint}
    for name, given in functions.items():
        if not callable(given):
            raise ConfigError(
                f"@idempotent({name}=…) takes a function of the arguments, got {given!a}"
            )
    dedup = store if isinstance(store, Dedup) else Dedup(store)
    need(dedup.store, Remembers.RESULT, "@idempotent")
    if fingerprint is not None:
        need(dedup.store, Remembers.FINGERPRINT, "@idempotent(fingerprint=…)")


def _event(scope: str, key: object, fingerprint: bytes | None) -> Event:
    if isinstance(key, tuple):
        text = joined([key_text(part, scope) for part in key])
    else:
        text = key_text(key, scope)
    return Event(key=Key(scope, text), source=scope, id=text, fingerprint=fingerprint)


def _digest(compared: object) -> bytes:
    try:
        return fingerprint_of(json.dumps(compared, sort_keys=True).encode())
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"fingerprint=… must return JSON values: {exc}") from exc
