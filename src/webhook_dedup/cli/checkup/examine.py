"""Starts a store and its inbox as an app does, and examines what is behind them."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

from ...admin.moments import instant
from ...contracts import OperableInbox, Startable, Store
from ...errors import ConfigError, SchemaError, StoreError, StoreUnavailable
from ...observe.backlog import look
from ..storage import inbox_of, opened_store
from .finding import Finding, Level, counted

__all__ = ["examined", "examined_inbox"]

logger = logging.getLogger("webhook_dedup")
_UNREADABLE = ("inbox tables", "inbox reached")
_LET_IT_START = "start the app once: it makes its tables"
_LET_IT_BE_REACHED = "is the server up and ready, and does the URL name it?"
_LET_IT_BE_CHANGED = "change the URL, or what its user may do, as it says"


async def examined(url: str, max_age: float | None) -> list[Finding]:
    """Examine a durable store and the inbox beside it.

    Args:
        url: The store's.
        max_age: Seconds that a delivery may wait; ``None`` where the inbox lies elsewhere.

    Raises:
        ConfigError: The URL names no store.
    """

    async def examine(store: Store) -> list[Finding]:
        findings = await _started(store, "store")
        if not _away(findings):
            kept = ["claims"] if max_age is None else ["claims", "inbox"]
            findings += await _answered("server", _server(store, kept))
            beside = [] if max_age is None else await _inbox(store, max_age)
            findings += [finding for finding in beside if finding not in findings]
        return findings

    return await _opened(url, "store", examine)


async def examined_inbox(url: str, max_age: float) -> list[Finding]:
    """Examine an inbox that does not lie beside the claims.

    Args:
        url: Of the store beside which it would.
        max_age: Seconds that a delivery may wait.

    Raises:
        ConfigError: The URL names no store.
    """

    async def examine(store: Store) -> list[Finding]:
        findings = await _inbox(store, max_age)
        if not _away(findings):
            server = await _answered("server", _server(store, ["inbox"]))
            findings += [replace(each, check=f"inbox {each.check}") for each in server]
        return findings

    return await _opened(url, "inbox", examine)


async def _opened(
    url: str, name: str, examine: Callable[[Store], Awaitable[list[Finding]]]
) -> list[Finding]:
    try:
        async with opened_store(url) as store:
            return await examine(store)
    except ConfigError:
        raise
    except StoreError as exc:
        # A SQLite file that is not there is noticed before anything is connected.
        return [Finding(Level.FAILURE, name, str(exc), "start the app once, or correct the URL")]


async def _inbox(store: Store, max_age: float) -> list[Finding]:
    async with inbox_of(store) as inbox:
        findings = await _started(inbox, "inbox")
        if not any(finding.check in _UNREADABLE for finding in findings):
            findings += await _answered("backlog", _backlog(inbox, max_age))
    return findings


def _away(findings: Iterable[Finding]) -> bool:
    return any("reached" in finding.check for finding in findings)


async def _started(backend: Any, name: str) -> list[Finding]:
    """Start a store or an inbox, and take down what it warns of."""
    with _warnings() as told:
        try:
            if isinstance(backend, Startable):
                await backend.start()
        except SchemaError as exc:
            return [_of_tables(name, str(exc))]
        except (ConfigError, StoreError) as exc:
            return [_of_refusal(f"{name} reached", exc)]
    if not told:
        return [Finding(Level.OK, name, "answers, and is set up as it should be")]
    return [_of_settings(name, text) for text in told]


def _of_refusal(check: str, error: StoreError | ConfigError) -> Finding:
    text, _, remedy = str(error).partition("; ")
    away = isinstance(error, StoreUnavailable)
    return Finding(
        Level.FAILURE, check, text, remedy or (_LET_IT_BE_REACHED if away else _LET_IT_BE_CHANGED)
    )


def _of_settings(name: str, warning: str) -> Finding:
    text, _, remedy = warning.rpartition("; ")
    return Finding(Level.WARNING, f"{name} settings", text or warning, remedy if text else "")


def _of_tables(name: str, error: str) -> Finding:
    text, _, remedy = error.partition(";")
    if "absent" not in text:
        return Finding(Level.FAILURE, f"{name} tables", text, remedy.strip())
    if name == "inbox":  # a store that only serves functions has none
        return Finding(
            Level.WARNING,
            "inbox tables",
            f"{text}: no app with sources uses this store",
            "nothing, if only functions use it; else start the app once, or correct the URL",
        )
    return Finding(Level.FAILURE, f"{name} tables", text, _LET_IT_START)


async def _answered(check: str, examination: Awaitable[list[Finding]]) -> list[Finding]:
    """Take down what an examination fails of, beside what the others found."""
    try:
        return await examination
    except StoreError as exc:
        return [_of_refusal(check, exc)]


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Catch what is logged as a warning."""
    told: list[str] = []

    class _Take(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    handler = _Take(logging.WARNING)
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield told
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates


async def _server(store: Store, kept: Sequence[str]) -> list[Finding]:
    """Examine the server in its own words. Its driver belongs to an extra."""
    if store.name == "redis":
        from .redis import examine_redis  # noqa: PLC0415 - of an extra

        return await examine_redis(cast(Any, store), kept)
    from .sql import examine_sql  # noqa: PLC0415 - of an extra

    return await examine_sql(cast(Any, store))


async def _backlog(inbox: OperableInbox, max_age: float) -> list[Finding]:
    backlog = await look(inbox)
    deliveries = counted(backlog.waiting, "delivery", "deliveries")
    findings = []
    if backlog.oldest > max_age:
        since = instant(time.time() - backlog.oldest)
        findings.append(
            Finding(
                Level.WARNING,
                "inbox age",
                f"the oldest of {deliveries} that wait or run has been there since {since}",
                "is the app or a worker running? See webhook-dedup inbox list --state waiting",
            )
        )
    if backlog.dead:
        findings.append(
            Finding(
                Level.WARNING,
                "dead letters",
                f"{counted(backlog.dead, 'delivery', 'deliveries')} given up, kept for a person",
                "see webhook-dedup inbox list --state dead, then replay or purge them",
            )
        )
    return findings or [Finding(Level.OK, "backlog", f"{deliveries} waiting or running")]
