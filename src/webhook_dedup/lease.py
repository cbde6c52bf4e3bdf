"""Keeps leases alive while handlers run, and tells a handler when its lease is gone.

One keeper renews everything a process holds, in batches, so that a handler which ends before a
third of its lease has passed costs no renewal at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

from .errors import StoreError

__all__ = ["Held", "LeaseKeeper"]

T = TypeVar("T")

logger = logging.getLogger("webhook_dedup")

RENEWALS_PER_LEASE = 3
MAX_BATCH = 256


@dataclass(slots=True, eq=False)
class Held(Generic[T]):
    """One thing under a lease.

    Attributes:
        thing: A claim or an inbox item.
        lease: Seconds each renewal asks for.
        deadline: Monotonic time by which the lease must have ended unless a renewal is confirmed:
            the time the last confirmed request was *sent*, plus the lease.
        due: Monotonic time of the next renewal.
        on_lost: Called once when the lease is refused or not confirmed in time.
        lost: Whether that happened.
    """

    thing: T
    lease: float
    deadline: float
    due: float
    on_lost: Callable[[], object]
    lost: bool = False


class LeaseKeeper(Generic[T]):
    """Renews what is held.

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
        self._held: set[Held[T]] = set()
        self._task: asyncio.Task[None] | None = None
        self._sooner = asyncio.Event()

    @contextmanager
    def hold(
        self, thing: T, lease: float, on_lost: Callable[[], object], *, sent: float
    ) -> Iterator[Held[T]]:
        """Renew ``thing`` for as long as the block runs.

        Args:
            thing: What is held.
            lease: Seconds of its lease.
            on_lost: Called when the lease is gone; the block should be left soon.
            sent: Monotonic time at which the lease was asked for.
        """
        held = Held(thing, lease, sent + lease, sent + lease / RENEWALS_PER_LEASE, on_lost)
        self._held.add(held)
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._run())
        else:
            self._sooner.set()
        try:
            yield held
        finally:
            self._held.discard(held)

    async def aclose(self) -> None:
        """Stop renewing. What is still held will run out."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        """Live as long as something is held: sleep to the next renewal, renew, repeat."""
        while self._held:
            wait = min(held.due for held in self._held) - monotonic()
            if wait > 0:
                self._sooner.clear()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._sooner.wait(), wait)
                continue
            now = monotonic()
            due = [held for held in self._held if held.due <= now]
            await asyncio.gather(*(self._renew_all(batch) for batch in _batches(due, self._key)))

    async def _renew_all(self, batch: list[Held[T]]) -> None:
        """Renew one batch; whatever is not confirmed by its deadline is lost."""
        sent = monotonic()
        lease = batch[0].lease
        patience = max(0.0, min(held.deadline for held in batch) - sent)
        answers: Sequence[bool | None]
        try:
            answers = await asyncio.wait_for(
                self._renew([held.thing for held in batch], lease), min(patience, lease)
            )
        except (StoreError, asyncio.TimeoutError) as exc:
            logger.debug("a renewal of %d leases failed: %r", len(batch), exc)
            answers = [None] * len(batch)
        except Exception:
            logger.exception("a renewal of %d leases failed", len(batch))
            answers = [None] * len(batch)
        for held, renewed in zip(batch, answers, strict=True):
            self._note(held, renewed, sent)

    def _note(self, held: Held[T], renewed: bool | None, sent: float) -> None:
        if held not in self._held:
            return
        if renewed:
            held.deadline = sent + held.lease
            held.due = sent + held.lease / RENEWALS_PER_LEASE
        elif renewed is None and monotonic() < held.deadline:
            # No answer: ask again soon, and once more at the deadline to notice that it has passed.
            held.due = min(held.deadline, monotonic() + held.lease / 10)
        else:
            self._held.discard(held)
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
