"""A store whose calls are measured."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, Protocol, TypeVar, runtime_checkable

from ..contracts import Startable, Store
from ..model import Bid, Claim, Settlement

__all__ = ["MeasuredStore", "StoreMeter"]

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger("webhook_dedup")


@runtime_checkable
class StoreMeter(Protocol):
    """An observer that wants to know about the calls of the store."""

    def store_call(self, verb: str, size: int, seconds: float, *, failed: bool) -> None:
        """Take one call. Called on the event loop: return quickly.

        Args:
            verb: ``claim``, ``complete``, ``release`` or ``renew``.
            size: How many keys went together.
            seconds: Until the answer.
            failed: It raised.
        """


class MeasuredStore:
    """Tells meters of every call that reaches a store, and is otherwise that store.

    Args:
        store: The store.
        meters: Told of each call.
    """

    def __init__(self, store: Store, *meters: StoreMeter) -> None:
        self.store = store
        self.name = store.name
        self.remembers = store.remembers
        self._meters = meters

    def __getattr__(self, name: str) -> Any:
        if name == "store":  # not built yet, as when it is copied
            raise AttributeError(name)
        return getattr(self.store, name)

    async def start(self) -> None:
        if isinstance(self.store, Startable):
            await self.store.start()

    async def claim(self, bids: Sequence[Bid]) -> Sequence[Claim]:
        return await self._measured("claim", self.store.claim, bids)

    async def complete(self, done: Sequence[Settlement]) -> Sequence[bool]:
        return await self._measured("complete", self.store.complete, done)

    async def release(self, claims: Sequence[Claim]) -> Sequence[bool]:
        return await self._measured("release", self.store.release, claims)

    async def renew(self, claims: Sequence[Claim], lease: float) -> Sequence[bool]:
        return await self._measured("renew", lambda some: self.store.renew(some, lease), claims)

    async def aclose(self) -> None:
        await self.store.aclose()

    async def _measured(
        self, verb: str, call: Callable[[Sequence[T]], Awaitable[R]], batch: Sequence[T]
    ) -> R:
        began = monotonic()
        failed = True
        try:
            answer = await call(batch)
            failed = False
        finally:
            self._tell(verb, len(batch), monotonic() - began, failed=failed)
        return answer

    def _tell(self, verb: str, size: int, seconds: float, *, failed: bool) -> None:
        """Tell every meter, and keep their faults away from the store's answer."""
        for meter in self._meters:
            try:
                meter.store_call(verb, size, seconds, failed=failed)
            except Exception:
                logger.exception("observer %s failed on a call", type(meter).__name__)
