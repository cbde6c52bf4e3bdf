"""How one run of a handler ends, and how it is cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from .model import Claim
from .threads import outlast

__all__ = ["Cut", "Run", "cancellations", "run_apart"]


class Run(Struct):
    """How one run of a handler ended.

    Attributes:
        value: What the handler returned, when ``error`` is ``None``.
        error: What it raised; :class:`LeaseLost` when it was cancelled because its claim was lost,
            :class:`HandlerTimeout` when it was cancelled because it took too long.
        duration: Seconds it ran.
        cancelled: The caller was cancelled meanwhile. It must settle the claim by what ``error``
            says, as always, and then raise ``CancelledError``. Without a task of its own a run
            cannot tell this from a handler that raised ``CancelledError``.
        lost: The claims whose leases were lost.
    """

    value: Any
    error: BaseException | None
    duration: float
    cancelled: bool = False
    lost: tuple[Claim, ...] = ()


class Cut:
    """Cancels a task, once.

    Several claims may be lost together, and another cancellation would cut off the cleaning up
    after the first.
    """

    __slots__ = ("_made", "_on_cut", "_task", "late")

    def __init__(self, task: asyncio.Task[Any] | None, on_cut: Callable[[], object] | None) -> None:
        self._task = task
        self._on_cut = on_cut
        self._made = False
        self.late = False

    def __call__(self) -> None:
        """Cancel the task, unless that was done."""
        if not self._made and self._task is not None:
            self._made = True
            self._task.cancel()
            if self._on_cut is not None:
                self._on_cut()

    def time_out(self) -> None:
        """Cancel the task because its time is up."""
        self.late = True
        self()


async def run_apart(running: Coroutine[Any, Any, Run], on_cut: Callable[[], object] | None) -> Run:
    """Run in a task of its own and wait for its true end, cancelling it when the caller is.

    One that outlives its cancellation, because a thread of its runs on, is waited for.
    """
    task = asyncio.create_task(running)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError as exc:
        task.cancel()
        if on_cut is not None:
            on_cut()
        await outlast(task)
        if task.cancelled():  # before it began
            return Run(None, exc, 0.0, cancelled=True)
        return replace(_run_of(task), cancelled=True)
    return replace(_run_of(task), cancelled=False)


def cancellations() -> int:
    """Return how often others have cancelled the present task; 0 before Python 3.11, as unknown.

    A handler that raises ``CancelledError`` by itself does not count.
    """
    task: Any = asyncio.current_task()
    return task.cancelling() if hasattr(task, "cancelling") else 0


def _run_of(task: asyncio.Task[Run]) -> Run:
    """Return how a run ended. What ends an event loop has ended its task, and is an error here."""
    error = task.exception()
    return task.result() if error is None else Run(None, error, 0.0)
