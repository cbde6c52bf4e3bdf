"""Several consumers of one event, each of which runs once."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec.structs import replace

from .contracts import Store
from .dedup import Dedup
from .errors import AlreadyDone, ConfigError, Discard, InProgress, Retry
from .model import Event, Key
from .operation import Operation
from .policy import DAY, Duration, seconds
from .portal import shared
from .threads import call

__all__ = ["fan_out"]

Consumer = Callable[[Event], Awaitable[object] | object]


async def fan_out(
    store: Dedup | Store | str,
    event: Event,
    *consumers: Consumer,
    named: Mapping[str, Consumer] | None = None,
    lease: Duration = 30.0,
    ttl: Duration = 30 * DAY,
) -> None:
    """Hand an event to several consumers, each with a claim of its own.

    All are run, together. When one fails, the event is retried, and then only those run that have
    not succeeded::

        async def hook(request):
            await fan_out(dedup, event_of(request), book_payment, update_crm, send_receipt)
            return Response()

    Args:
        store: A :class:`Dedup`, a store or its URL.
        event: What :func:`event_of` gave.
        consumers: Functions of the event, known by their qualified names. A plain ``def`` runs in a
            thread. One that raises :class:`Discard` or :class:`AlreadyDone` is done.
        named: More of them by names of their own, which stay when functions are renamed.
        lease: Seconds after which a consumer whose process went silent may be run again.
        ttl: How long it is remembered who has run; longer than events are retried and replayed.

    Raises:
        Retry: Some of them failed; all others are done. Its ``after`` is the longest that one of
            them asked for by ``Retry(after=…)``.
        InProgress: None failed, but another process is inside some of them.
        ConfigError: Two have one name, or the event has no id.
    """
    if event.key is None:
        raise ConfigError(f"an event of {event.source} without an id cannot be told from others")
    by_name = _named(consumers, named or {})
    dedup = await shared(store)
    runs = [
        _run(
            _operation(dedup, event, name, seconds(lease, "lease"), seconds(ttl, "ttl")),
            consumer,
            event,
        )
        for name, consumer in by_name.items()
    ]
    ends = await asyncio.gather(*runs, return_exceptions=True)
    _raise_for(list(by_name), ends)


def _named(consumers: Sequence[Consumer], named: Mapping[str, Consumer]) -> dict[str, Consumer]:
    by_name = {_name_of(consumer): consumer for consumer in consumers}
    if len(by_name) < len(consumers) or by_name.keys() & named.keys():
        raise ConfigError(
            "two consumers have one name, so that one would pass for the other; "
            "write named={'first': …, 'second': …}"
        )
    return {**by_name, **named}


def _name_of(consumer: Consumer) -> str:
    name = getattr(consumer, "__qualname__", None)
    if name is None or "<lambda>" in name:
        raise ConfigError(f"{consumer!r} has no name to be remembered by; write named={{'…': …}}")
    return f"{consumer.__module__}.{name}"


def _operation(dedup: Dedup, event: Event, name: str, lease: float, ttl: float) -> Operation:
    tenant = event.key.tenant if event.key else ""
    scope = f"{event.source}>{name}"
    own = replace(event, key=Key(scope, event.id, tenant), source=scope, fingerprint=None)
    return Operation(dedup, own, lease, ttl)


async def _run(operation: Operation, consumer: Consumer, event: Event) -> None:
    claim, sent = await operation.claim()
    if claim.done:
        return
    try:
        await operation.run(functools.partial(call, consumer, event), claim, sent)
    except (AlreadyDone, Discard):
        return


def _raise_for(names: Sequence[str], ends: Sequence[BaseException | None]) -> None:
    errors = {name: end for name, end in zip(names, ends, strict=True) if end is not None}
    waits = [error for error in errors.values() if isinstance(error, InProgress)]
    failed = {name: error for name, error in errors.items() if not isinstance(error, InProgress)}
    if failed:
        first = next(iter(failed.values()))
        if not isinstance(first, Exception):
            raise first
        asked = [error.after for error in failed.values() if isinstance(error, Retry)]
        raise Retry(
            f"{len(failed)} of {len(names)} consumers failed: {', '.join(failed)}",
            after=max((after for after in asked if after is not None), default=None),
        ) from first
    if waits:
        raise max(waits, key=lambda wait: wait.retry_after)
