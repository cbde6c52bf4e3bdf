"""A store that fails on command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, TypeVar, get_args

from ..contracts import Startable, Store
from ..errors import StoreUnavailable
from ..model import Bid, Claim, Settlement
from ..policy import check_choice
from ..stores import MemoryStore

__all__ = ["FailingStore", "Verb"]

T = TypeVar("T")
R = TypeVar("R")

Verb = Literal["start", "claim", "complete", "release", "renew"]


class FailingStore:
    """Passes everything on to a store, until it is told to fail.

    ::

        store = FailingStore()
        store.away("claim", times=2)         # raises, and nothing has happened
        store.lose_replies("complete")       # it happens, and the answer is lost
        store.slow("renew", 5)               # answers later
        store.back()                         # from now on all is well

    Args:
        store: What really keeps the claims; memory by default.
    """

    def __init__(self, store: Store | None = None) -> None:
        self.store = MemoryStore() if store is None else store
        self.name = self.store.name
        self.remembers = self.store.remembers
        self.calls: list[str] = []
        """Every verb it was asked for, in order."""
        self._away: dict[str, float] = {}
        self._mute: dict[str, float] = {}
        self._slow: dict[str, float] = {}

    def __getattr__(self, name: str) -> Any:
        if name == "store":  # not built yet, as when it is copied
            raise AttributeError(name)
        return getattr(self.store, name)

    def away(self, *verbs: Verb, times: float = float("inf")) -> None:
        """Raise ``StoreUnavailable`` before these verbs do anything; all verbs if none is named."""
        self._away |= dict.fromkeys(_named(verbs), times)

    def lose_replies(self, *verbs: Verb, times: float = float("inf")) -> None:
        """Let these verbs do their work and raise ``StoreUnavailable`` in place of the answer."""
        self._mute |= dict.fromkeys(_named(verbs), times)

    def slow(self, verb: Verb, seconds: float) -> None:
        """Let a verb take longer."""
        self._slow |= dict.fromkeys(_named((verb,)), seconds)

    def back(self) -> None:
        """Fail no more."""
        self._away.clear()
        self._mute.clear()
        self._slow.clear()

    async def start(self) -> None:
        await self._pass("start", self._start, ())

    async def claim(self, bids: Sequence[Bid]) -> Sequence[Claim]:
        return await self._pass("claim", self.store.claim, bids)

    async def complete(self, done: Sequence[Settlement]) -> Sequence[bool]:
        return await self._pass("complete", self.store.complete, done)

    async def release(self, claims: Sequence[Claim]) -> Sequence[bool]:
        return await self._pass("release", self.store.release, claims)

    async def renew(self, claims: Sequence[Claim], lease: float) -> Sequence[bool]:
        return await self._pass("renew", lambda some: self.store.renew(some, lease), claims)

    async def aclose(self) -> None:
        await self.store.aclose()

    async def _start(self, _: Sequence[object]) -> None:
        if isinstance(self.store, Startable):
            await self.store.start()

    async def _pass(
        self, verb: Verb, call: Callable[[Sequence[T]], Awaitable[R]], batch: Sequence[T]
    ) -> R:
        self.calls.append(verb)
        if verb in self._slow:
            await asyncio.sleep(self._slow[verb])
        if _use_up(self._away, verb):
            raise StoreUnavailable(f"{self.name} was told to be away for {verb}")
        answer = await call(batch)
        if _use_up(self._mute, verb):
            raise StoreUnavailable(f"{self.name} was told to lose the answer to {verb}")
        return answer


def _named(verbs: Sequence[Verb]) -> Sequence[str]:
    for verb in verbs:
        check_choice(verb, Verb, "verb")
    return verbs or get_args(Verb)


def _use_up(times: dict[str, float], verb: str) -> bool:
    left = times.get(verb, 0)
    if left:
        times[verb] = left - 1
    return left > 0
