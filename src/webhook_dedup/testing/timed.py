"""What contract suites share: time that tests may move, and calls that meet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable
from typing import TypeVar

__all__ = ["LONG_LEASE", "TimedCase", "cancel_after"]

_T = TypeVar("_T")

LONG_LEASE = 600.0
"""For what must be held to the end of its test, however slow the machine."""


class TimedCase:
    """What a subclass may override.

    Attributes:
        lease: Seconds of the leases that tests let run out. None of them has to be alive when the
            next call arrives, so they are short.
        margin: Seconds waited beyond a lease, so that it has run out for sure.
        patience: Seconds after which concurrent calls that do not end fail their test.
    """

    lease: float = 0.1
    margin: float = 0.05
    patience: float = 60.0

    async def elapse(self, seconds: float) -> None:
        """Let ``seconds`` pass for what is tested."""
        await asyncio.sleep(seconds)

    def now(self) -> float:
        """Return its idea of Unix time; a minute more or less does not matter."""
        return time.time()

    async def at_once(self, calls: Iterable[Awaitable[_T]]) -> list[_T]:
        """Run calls together; one that never ends fails the test instead of hanging it."""
        return await asyncio.wait_for(asyncio.gather(*calls), self.patience)

    async def outlive_lease(self) -> None:
        """Let what is held for ``lease`` seconds run out."""
        await self.elapse(self.lease + self.margin)


async def cancel_after(turns: int, task: asyncio.Future[object]) -> None:
    """Cancel a task some turns of the event loop after its start."""
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
