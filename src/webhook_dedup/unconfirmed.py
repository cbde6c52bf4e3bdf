"""Completions that the store has not confirmed yet, up to the end of the process."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import threading
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any
from weakref import WeakSet

from msgspec import Struct

from .loop_binding import LoopBinding
from .model import Event, Settlement

__all__ = ["SLACK", "UNCONFIRMED", "ExitWait", "Later", "PendingCompletion"]

Later = Callable[[bool | None], object]
"""Told what became of a completion after its caller has gone; see :meth:`Engine.complete`."""

UNCONFIRMED = "its work is done, the store has not confirmed that yet and is asked again"
SLACK = 1.0


class PendingCompletion(Struct, eq=False):
    """A completion that is to be confirmed.

    Attributes:
        event: What the claim is for.
        settlement: What the store is asked for.
        until: Monotonic time up to which its lease may hold, so that nobody else can run the event;
            0 if the end of a process is not held up for it.
        later: Told the answer once the caller has gone.
        answer: What the store said, for a caller that waits for some seconds only.
        left: Whether the caller has gone.
    """

    event: Event
    settlement: Settlement
    until: float
    later: Later | None
    answer: asyncio.Future[bool | None] | None = None
    left: bool = False

    def leave(self) -> None:
        """Wait no longer: from now on what is said is told to ``later``."""
        self.left = True
        if self.answer is not None and self.answer.done():
            self._tell(self.answer.result())

    def end(self, told: bool | None) -> None:
        """Hand on what the store said, ``None`` if it never did. The first answer counts."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(told)
            if self.left:
                self._tell(told)

    def _tell(self, told: bool | None) -> None:
        if self.later is not None:
            self.later(told)


class ExitWait:
    """Holds up the end of the process while completions are pending.

    That is for event loops in background threads, which nobody drains.

    Args:
        wait_for_pending: Waits until nothing is pending, or need not be waited for any more.
    """

    def __init__(self, wait_for_pending: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._wait_for_pending = wait_for_pending
        self._binding = LoopBinding()
        self._until = 0.0

    def extend(self, until: float) -> None:
        """Hold up the end of the process, at most until then."""
        self._until = max(self._until, until)
        _exit_waits.add(self)
        _wait_at_exit()

    def wait(self) -> None:
        """Wait until they are settled; called in another thread than the loop's."""
        left = self._until - monotonic()
        if left > 0 and self._binding.alive:  # a loop that has ended was drained
            pending = self._wait_for_pending()
            settling = asyncio.run_coroutine_threadsafe(pending, self._binding.loop)
            with contextlib.suppress(Exception):
                settling.result(left + 2 * SLACK)


_exit_waits: WeakSet[ExitWait] = WeakSet()


@functools.cache
def _wait_at_exit() -> None:
    """Make the process wait before its thread pools are shut down, once for all.

    Stores need those pools to look up names and to connect; ``atexit`` would come too late.
    """
    register: Any = getattr(threading, "_register_atexit", atexit.register)
    with contextlib.suppress(RuntimeError):  # the process is ending already
        register(_wait_for_all)


def _wait_for_all() -> None:
    for each in list(_exit_waits):
        each.wait()
