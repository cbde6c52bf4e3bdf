"""Keeps leases alive while handlers run, and tells a handler when its lease is gone.

One keeper renews everything a process holds, in batches, so that a handler which ends before a
quarter of its lease has passed costs no renewal at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from math import inf
from time import monotonic
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from .errors import StoreError

__all__ = ["Held", "LeaseKeeper"]


class _Fenced(Protocol):
    @property
    def token(self) -> str: ...


T = TypeVar("T", bound=_Fenced)

logger = logging.getLogger("webhook_dedup")

RENEWALS_PER_LEASE = 3
COMPANY = 1 / 12  # share of its lease by which a renewal may be early, to go with others
PATIENCE = 1 / 6  # share of its lease for which a renewal may take to be answered
RETRY = 1 / 10  # share of its lease after which a renewal without an answer is asked for again
MAX_BATCH = 256


class Held(Struct, Generic[T], eq=False):
    """One thing under a lease, renewed until it is dropped or the block around it ends.

    Attributes:
        keeper: Renews it.
        thing: A claim or an inbox item.
        lease: Seconds each renewal asks for.
        deadline: Monotonic time by which the lease must have ended unless a renewal is confirmed:
            the time the last confirmed request was *sent*, plus the lease.
        due: Monotonic time of the next renewal; infinite while one is under way.
        on_lost: Called once when the lease is refused or not confirmed in time.
        lost: Whether that happened.
    """

    keeper: LeaseKeeper[T]
    thing: T
    lease: float
    deadline: float
    due: float
    on_lost: Callable[[], object]
    lost: bool = False

    def drop(self) -> None:
        """Stop renewing it. A lease that has ended unnoticed, in a frozen process, is lost."""
        if self.keeper.drop(self.thing) and self.deadline <= monotonic():
            self.lost = True

    def __enter__(self) -> Held[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()


class LeaseKeeper(Generic[T]):
    """Renews what is held. It has a timer, and no task of its own.

    Args:
        renew: Renews a batch for a number of seconds; an answer of False means the lease is gone.
        key: Names what must be distinct within a batch.
    """

    def __init__(
        self,
        renew: Callable[[Sequence[T], float], Awaitable[Sequence[bool]]],
        key: Callable[[T], object],
    ) -> None:
        self._renew = renew
        self._key = key
        self._held: dict[str, Held[T]] = {}  # by token
        self._renewals: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = inf

    def hold(
        self, thing: T, lease: float, on_lost: Callable[[], object], *, sent: float
    ) -> Held[T]:
        """Renew ``thing`` from now until it is dropped; ``with`` drops it at the end of its block.

        Args:
            thing: What is held.
            lease: Seconds of its lease.
            on_lost: Called when the lease is gone; what it is held for should end soon.
            sent: Monotonic time at which the lease was asked for.
        """
        due = sent + lease / RENEWALS_PER_LEASE
        held = self._held[thing.token] = Held(self, thing, lease, sent + lease, due, on_lost)
        if due < self._wakes_at:
            self._wake_by(due)
        return held

    def drop(self, thing: T) -> bool:
        """Stop renewing something, though its block may still run; say whether it was renewed.

        The timer stays: most handlers end before it rings, and the next one would set it again.
        """
        return self._held.pop(thing.token, None) is not None

    async def aclose(self) -> None:
        """Stop renewing. What is still held will run out."""
        self._stop_timer()
        for renewal in self._renewals:
            renewal.cancel()
        if self._renewals:
            await asyncio.wait(self._renewals)

    def _wake_by(self, due: float) -> None:
        if due < self._wakes_at:
            self._stop_timer()
            self._wakes_at = due
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, due - monotonic()), self._wake)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._wakes_at = None, inf

    def _wake(self) -> None:
        """Give up what has passed its deadline, renew what is due soon, sleep to the next."""
        self._stop_timer()
        now = monotonic()
        for held in [held for held in self._held.values() if held.deadline <= now]:
            self._lose(held)
        due = [held for held in self._held.values() if held.due - held.lease * COMPANY <= now]
        for batch in _batches(due, self._key):
            for held in batch:
                held.due = inf
            renewal = asyncio.ensure_future(self._renew_all(batch))
            self._renewals.add(renewal)
            renewal.add_done_callback(self._renewals.discard)
        if self._held:
            self._wake_by(min(min(held.due, held.deadline) for held in self._held.values()))

    async def _renew_all(self, batch: list[Held[T]]) -> None:
        sent, lease = monotonic(), batch[0].lease
        answers: Sequence[bool | None] = [None] * len(batch)
        try:
            told = await asyncio.wait_for(
                self._renew([held.thing for held in batch], lease), lease * PATIENCE
            )
            if len(told) == len(batch):
                answers = told
        except (StoreError, asyncio.TimeoutError) as exc:
            logger.debug("a renewal of %d leases failed: %r", len(batch), exc)
        except Exception:
            logger.exception("a renewal of %d leases failed", len(batch))
        for held, renewed in zip(batch, answers, strict=True):
            if self._held.get(held.thing.token) is held:
                self._note(held, renewed, sent)

    def _note(self, held: Held[T], renewed: bool | None, sent: float) -> None:
        if renewed is None:
            held.due = monotonic() + held.lease * RETRY
        elif renewed:
            held.deadline = sent + held.lease
            held.due = sent + held.lease / RENEWALS_PER_LEASE
        else:
            return self._lose(held)
        return self._wake_by(held.due)

    def _lose(self, held: Held[T]) -> None:
        self.drop(held.thing)
        held.lost = True
        held.on_lost()


def _batches(due: Iterable[Held[T]], key: Callable[[T], object]) -> Iterator[list[Held[T]]]:
    """Group by lease; a key that repeats (an old holder beside a new one) opens another batch."""
    open_batches: dict[float, tuple[list[Held[T]], set[object]]] = {}
    for held in due:
        batch, keys = open_batches.setdefault(held.lease, ([], set()))
        if key(held.thing) in keys or len(batch) == MAX_BATCH:
            yield batch
            batch, keys = open_batches[held.lease] = [], set()
        batch.append(held)
        keys.add(key(held.thing))
    for batch, _ in open_batches.values():
        yield batch
