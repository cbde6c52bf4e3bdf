"""Items that may be killing their process: they are run one at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from time import monotonic

from .model import Item
from .standing import Job

__all__ = ["Quarantine", "is_suspect"]

logger = logging.getLogger("webhook_dedup")

SUSPICIOUS = 2  # runs that did not end


def is_suspect(item: Item, job: Job) -> bool:
    """Whether an item may be killing its process: runs of it began and never ended.

    Items that were cut off together come due together as well. Run side by side, the one that kills
    its process would take the others along until their attempts are used up.
    """
    left = job.policy.retries.attempts - item.attempts
    return left > 0 and (item.cut_off >= SUSPICIOUS or (item.cut_off > 0 and left == 1))


class Quarantine:
    """Knows which suspect has the place to run, and who waits for it.

    A suspect has the place until its run ends, for one lease at most: one that kills its process
    has done so by then, and one that hangs must not keep the others from running.

    Those who wait are not deferred: they stay held as they were taken, come due again when that
    hold runs out, and keep their turn. So waiting costs one take a lease, and nothing else.

    Args:
        lease: Seconds for which the place is kept.
        room: How many may wait; more are left to come due again.
    """

    def __init__(self, lease: float, room: int) -> None:
        self._lease = lease
        self._room = room
        self._waiting: dict[str, tuple[Item, Job]] = {}
        self._running: tuple[Item, asyncio.Future[None]] | None = None
        self._until = 0.0

    def add(self, item: Item, job: Job) -> bool:
        """Let an item wait for its turn; say whether it begins to, behind others."""
        known = item.id in self._waiting
        begins = not known and (bool(self._waiting) or self._taken())
        if known or len(self._waiting) < self._room:
            self._waiting[item.id] = item, job
            return begins
        return False

    def next(self) -> tuple[Item, Job] | None:
        """Return the one whose turn it is; it waits no longer."""
        if not self._waiting or self._taken():
            return None
        self._pass_by()
        return self._waiting.pop(next(iter(self._waiting)))

    def enter(self, item: Item, ended: asyncio.Future[None]) -> None:
        """Give an item the place for a run that has begun."""
        self._running = item, ended
        self._until = monotonic() + self._lease

    def leave(self) -> Collection[Item]:
        """Let nobody wait any longer, and return who did."""
        left = [item for item, _ in self._waiting.values()]
        self._waiting.clear()
        return left

    def _taken(self) -> bool:
        running = self._running
        return running is not None and not running[1].done() and monotonic() < self._until

    def _pass_by(self) -> None:
        """Free the place, with a warning if the one that had it still runs."""
        if self._running is not None and not self._running[1].done():
            logger.warning(
                "inbox item %s, whose runs were cut off before, still runs after %g s; the next "
                "such item is run beside it",
                self._running[0].id,
                self._lease,
            )
        self._running = None
