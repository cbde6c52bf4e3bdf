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

    __slots__ = ("_process", "_thread", "loop")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._process = _process
        self._thread = get_ident()

    @property
    def alive(self) -> bool:
        """Whether the loop runs, and in this process: a forked child inherits no threads."""
        return self._process is _process and self.loop.is_running()

    @property
    def here(self) -> bool:
        """Whether the caller is on the loop, and it runs."""
        # Thread and process are asked first: to ask for the present loop is a system call before
        # Python 3.12.
        unmoved = self._thread == get_ident() and self._process is _process
        return self.loop.is_running() and (unmoved or _present_loop() is self.loop)


class _Process:
    """Stands for this process: a forked child makes its own."""


_process = _Process()


def _forked() -> None:
    global _process  # noqa: PLW0603 - that it changes with the process is its purpose
    _process = _Process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _present_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
