"""Calls for a sweep every now and then, off the way of claims."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

__all__ = ["Sweeper"]

logger = logging.getLogger("webhook_dedup")


class Sweeper:
    """A background task that lives from :meth:`start` to :meth:`stop`.

    Args:
        sweep: What it calls. A failure is logged, and it calls again later.
        every: Seconds between calls, give or take a quarter, so that processes spread out.
    """

    def __init__(self, sweep: Callable[[], Awaitable[object]], every: float) -> None:
        self._sweep = sweep
        self._every = every
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start, unless it runs already."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="webhook_dedup sweeper")

    async def stop(self) -> None:
        """End the task and wait for its end."""
        task, self._task = self._task, None
        if task is not None and not task.done():  # perhaps with the loop it ran on
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every * random.uniform(0.75, 1.25))  # noqa: S311 - no secret
            try:
                await self._sweep()
            except Exception:  # expired rows are tidied up later; claims go on
                logger.warning("sweeping expired claims failed; trying again later", exc_info=True)
            if self._task is not asyncio.current_task():
                return  # stopped, and what it called swallowed the cancellation
