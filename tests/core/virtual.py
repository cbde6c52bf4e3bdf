"""Event loops whose time jumps to the next timer, so that leases and back-offs cost no waiting."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from webhook_dedup import (
    calls,
    dedup,
    engine,
    lease,
    quarantine,
    settling,
    siblings,
    standing,
    turn,
    unconfirmed,
)

__all__ = ["LoopClock", "freeze", "in_virtual_time", "now"]

_READERS_OF_TIME = (
    calls,
    unconfirmed,
    dedup,
    engine,
    lease,
    settling,
    siblings,
    standing,
    quarantine,
    turn,
)


_TICK = 1e-9


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]  # a class by platform
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:  # nothing but another thread can wake this loop
            return super().select(None)
        ready = super().select(0)
        if not ready:
            self.now += max(0.0, timeout)
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        self._jumping.now += _TICK  # as no two moments of a real clock are the same
        return self._jumping.now

    def freeze(self, seconds: float) -> None:
        self._jumping.now += seconds


def freeze(seconds: float) -> None:
    """Let time pass without running anything, as for a stopped process."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, _VirtualLoop)
    loop.freeze(seconds)


def now() -> float:
    """Seconds of the running loop."""
    return asyncio.get_running_loop().time()


class LoopClock:
    """The clock of a store or inbox that lives in virtual time."""

    def time(self) -> float:
        return 1_700_000_000.0 + now()

    def monotonic(self) -> float:
        return now()


def in_virtual_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on a loop of its own where waiting takes no time and no callback fails unseen."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        loop = _VirtualLoop()
        unseen: list[Any] = []
        loop.set_exception_handler(lambda _, told: unseen.append(told))
        with ExitStack() as patches:
            for module in _READERS_OF_TIME:
                patches.enter_context(patch.object(module, "monotonic", now))
            try:
                loop.run_until_complete(test(*args, **kwargs))
            finally:
                _close(loop)
        assert unseen == []

    return run


def _close(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_until_complete(_cancel_all())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


async def _cancel_all() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
