"""How much waits in the inbox, asked now and then so that whoever scrapes never waits for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ..contracts import OperableInbox, Sought

__all__ = ["Backlog", "BacklogWatch", "look"]

logger = logging.getLogger("webhook_dedup")

_LAST_LOOK = 1.0


@dataclass(frozen=True, slots=True)
class Backlog:
    """What an inbox holds.

    Attributes:
        waiting: Deliveries that wait or run.
        dead: Dead letters.
        oldest: Seconds since the oldest waiting delivery was received; 0 without one.
    """

    waiting: int
    dead: int
    oldest: float


class BacklogWatch:
    """Asks an inbox every few seconds, in a task of the event loop that it was begun on.

    Args:
        told: Called with each answer; with ``None`` when the inbox did not give one.
        every: Seconds between questions.
    """

    def __init__(self, told: Callable[[Backlog | None], None], every: float) -> None:
        self._told = told
        self._every = every
        self._task: asyncio.Task[None] | None = None
        self._inbox: OperableInbox

    def begin(self, inbox: OperableInbox) -> None:
        """Watch an inbox in place of the one before."""
        if self._task is not None and not self._task.get_loop().is_closed():
            self._task.cancel()
        self._inbox = inbox
        self._task = asyncio.get_running_loop().create_task(
            self._watch(inbox), name="webhook_dedup backlog"
        )

    async def aclose(self) -> None:
        """Look once more, so that what is left behind is told, and watch no longer."""
        task, self._task = self._task, None
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            return
        task.cancel()
        await asyncio.wait([task])
        with suppress(asyncio.TimeoutError):
            last = await asyncio.wait_for(_answer(self._inbox), _LAST_LOOK)
            if last is not None:
                self._told(last)

    async def _watch(self, inbox: OperableInbox) -> None:
        while True:
            self._told(await _answer(inbox))
            await asyncio.sleep(self._every)


async def _answer(inbox: OperableInbox) -> Backlog | None:
    try:
        return await look(inbox)
    except Exception as exc:  # noqa: BLE001 - asked again; the inbox tells of its troubles
        logger.debug("the backlog cannot be told: %s", exc)
        return None


async def look(inbox: OperableInbox) -> Backlog:
    """Ask an inbox what it holds."""
    waiting = Sought(state="waiting")
    oldest = await inbox.find(waiting, limit=1)
    return Backlog(
        waiting=await inbox.count(waiting),
        dead=await inbox.count(Sought(state="dead")),
        oldest=max(0.0, time.time() - oldest[0].delivery.received_at) if oldest else 0.0,
    )
