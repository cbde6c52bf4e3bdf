"""Where something was started: an event loop, in a thread of a process."""

from __future__ import annotations

import asyncio
import os
from threading import get_ident

__all__ = ["Residence"]


class Residence:
    """The event loop, thread and process it is made on.

    Attributes:
        loop: The event loop.
    """

    __slots__ = ("_place", "loop")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._place = _here()

    @property
    def alive(self) -> bool:
        """Whether the loop runs."""
        return self.loop.is_running()

    @property
    def here(self) -> bool:
        """Whether the caller is on the loop, and it runs."""
        # The place is asked first: to ask for the present loop is a system call before Python 3.12.
        return self.alive and (self._place == _here() or _present_loop() is self.loop)


class _Process:
    """Stands for this process: a forked child makes its own."""


_process = _Process()


def _forked() -> None:
    global _process  # noqa: PLW0603 - that it changes with the process is its purpose
    _process = _Process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _here() -> tuple[object, int]:
    """Name the present thread of the present process."""
    return _process, get_ident()


def _present_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
