"""What the rules share: hooks to override and calls on single keys."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Iterable, Sequence
from typing import TypeVar

from ...contracts import Store
from ...model import Bid, Claim, Settlement, new_token
from ..coroutines import CoroutineCase

__all__ = [
    "LONG_LEASE",
    "LONG_TTL",
    "ROUNDING",
    "StoreCase",
    "a_key",
    "claim",
    "complete",
    "release",
    "renew",
    "same_time",
]

_T = TypeVar("_T")

LONG_LEASE = 600.0
"""For claims that must live to the end of their test, however slow the machine."""
LONG_TTL = 3600.0
ROUNDING = 0.01
"""Seconds by which a store may round the times it tells."""


class StoreCase(CoroutineCase):
    """What a subclass may override.

    Attributes:
        lease: Seconds of the leases that tests let run out. None of them has to be alive when the
            next call arrives, so they are short.
        ttl: Seconds of the TTLs that tests let run out; the same holds for them.
        ttl_slack: How many seconds longer than its TTL the store may remember a done key.
        margin: Seconds waited beyond a lease or TTL, so that it has run out for sure.
        own_clock: Whether the store goes by something other than this process's wall clock. False
            only for one that lives in this process and has nothing better.
        patience: Seconds after which concurrent calls that do not end fail their test.
    """

    lease: float = 0.1
    ttl: float = 0.1
    ttl_slack: float = 0.0
    margin: float = 0.05
    own_clock: bool = True
    patience: float = 60.0

    async def elapse(self, seconds: float) -> None:
        """Let ``seconds`` pass for the store."""
        await asyncio.sleep(seconds)

    def now(self) -> float:
        """Return the store's idea of Unix time; a minute more or less does not matter."""
        return time.time()

    async def unexpiring(self, store: Store) -> Sequence[str]:  # noqa: ARG002 - for overriders
        """List what the store keeps without an expiry, if there is a way to look."""
        return ()

    async def at_once(self, calls: Iterable[Awaitable[_T]]) -> list[_T]:
        """Run calls together; one that never ends fails the test instead of hanging it."""
        return await asyncio.wait_for(asyncio.gather(*calls), self.patience)

    async def outlive_lease(self) -> None:
        """Let claims made for ``lease`` seconds run out."""
        await self.elapse(self.lease + self.margin)

    async def outlive_ttl(self) -> None:
        """Let done keys kept for ``ttl`` seconds run out."""
        await self.elapse(self.ttl + self.ttl_slack + self.margin)


def a_key(text: str = "event") -> str:
    """Make a key that no other test uses and that ends with ``text``."""
    return f"{uuid.uuid4().hex}:{text}"


async def claim(
    store: Store,
    key: str,
    *,
    lease: float = LONG_LEASE,
    fingerprint: bytes | None = None,
    token: str | None = None,
) -> Claim:
    """Bid for one key, under a new token unless one is given."""
    bid = Bid(key, token or new_token(), lease, fingerprint)
    (answer,) = await store.claim([bid])
    return answer


async def complete(
    store: Store, held: Claim, *, ttl: float = LONG_TTL, result: bytes | None = None
) -> bool:
    """Complete one claim."""
    (answer,) = await store.complete([Settlement(held, ttl, result)])
    return answer


async def release(store: Store, held: Claim) -> bool:
    """Release one claim."""
    (answer,) = await store.release([held])
    return answer


async def renew(store: Store, held: Claim, lease: float = LONG_LEASE) -> bool:
    """Renew one claim."""
    (answer,) = await store.renew([held], lease)
    return answer


def same_time(one: float | None, other: float | None) -> bool:
    """Whether two times are equal up to rounding, or both unknown."""
    if one is None or other is None:
        return one is other
    return abs(one - other) <= ROUNDING
