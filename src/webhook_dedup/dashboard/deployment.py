"""What the pages show: the storage of an app, reached from within it or from outside."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Protocol, cast

from ..admin.lookup import Storage
from ..contracts import Forgetful, OperableInbox, Store
from ..dedup import Dedup
from ..errors import MissingPower, StoreError, TableAbsent
from ..observe.history import History
from ..observe.log import fields
from ..observe.record import Record
from ..routes import Route

__all__ = ["DedupDeployment", "Deployment", "StoreDeployment"]

_LOOK_AGAIN = 2.0  # seconds between looks for a history that is not there yet

logger = logging.getLogger("webhook_dedup")


class Deployment(Protocol):
    """An app whose deliveries are shown."""

    @property
    def routes(self) -> Mapping[str, Route] | None:
        """Its sources by name; ``None`` where only the app knows them."""

    async def storage(self) -> Storage:
        """Return its store, inbox and history."""

    def record(self, record: Record) -> None:
        """Keep what a person did."""

    async def forget(self, key: str) -> bool:
        """Make a key absent.

        Raises:
            MissingPower: The store cannot.
        """


class DedupDeployment:
    """An app, from within its own process.

    Args:
        dedup: What is behind its middleware.
        history: Its history, if it is not the one among its observers.
    """

    def __init__(self, dedup: Dedup, history: History | None) -> None:
        self._dedup = dedup
        observers = dedup.record.observers
        self._history = history or next((o for o in observers if isinstance(o, History)), None)

    @property
    def routes(self) -> Mapping[str, Route]:
        return self._dedup.routes.by_name

    async def storage(self) -> Storage:
        # Asked each time, since a Dedup that is started again may have others.
        inbox = cast(OperableInbox, self._dedup.inbox)
        return Storage(self._dedup.store, inbox, self._history)

    def record(self, record: Record) -> None:
        _record(record, self._history)

    async def forget(self, key: str) -> bool:
        # Through the cache of this process, so that it forgets, too.
        return await _forget(self._dedup.seen or self._dedup.store, key)


class StoreDeployment:
    """An app, from outside, by the store that it uses.

    Args:
        store: The store.
        inbox: The inbox beside it.
        history: Opens the history beside it.
    """

    routes = None

    def __init__(self, store: Store, inbox: OperableInbox, history: Callable[[], History]) -> None:
        self._store = store
        self._inbox = inbox
        self._open = history
        self._history: History | None = None
        self._opening = asyncio.Lock()
        self._look_at = 0.0

    async def storage(self) -> Storage:
        async with self._opening:
            if self._history is None and monotonic() >= self._look_at:
                self._history = await self._opened()
                self._look_at = monotonic() + _LOOK_AGAIN
        return Storage(self._store, self._inbox, self._history)

    def record(self, record: Record) -> None:
        _record(record, self._history)

    async def forget(self, key: str) -> bool:
        return await _forget(self._store, key)

    async def aclose(self) -> None:
        """Close the history that was opened."""
        if self._history is not None:
            await self._history.aclose()

    async def _opened(self) -> History | None:
        """Open the history, if the app keeps one by now."""
        history = self._open()
        try:
            await history.start()
        except StoreError as exc:
            await history.aclose()
            if isinstance(exc, TableAbsent):
                return None
            raise
        return history


async def _forget(store: Store, key: str) -> bool:
    if not isinstance(store, Forgetful):
        raise MissingPower(f"{store.name} cannot forget single events")
    return await store.forget(key)


def _record(record: Record, history: History | None) -> None:
    """Keep what a person did, past the metrics: no handler did it."""
    extra = {"webhook_dedup": fields(record)}
    logger.info(
        "%s %a of %s %s", record.reason, record.event_id, record.source, record.detail, extra=extra
    )
    if history is not None:
        history.record(record)
