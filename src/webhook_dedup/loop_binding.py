"""Which event loop something belongs to, and whether it may still be used there.

A connection or a queue that waits on an event loop serves the tasks of that one alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from threading import Lock, get_ident
from weakref import WeakKeyDictionary

from .errors import ConfigError

__all__ = ["LoopBinding", "bind_loop", "binding_of", "used_elsewhere"]


class LoopBinding:
    """The event loop, thread and process it is made on.

    Attributes:
        loop: The event loop.
    """

    __slots__ = ("__weakref__", "_process", "_thread", "loop")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._process = _process
        self._thread = get_ident()

    @property
    def alive(self) -> bool:
        """Whether the loop runs, and in this process: a forked child inherits no threads."""
        return self._process is _process and self.loop.is_running()

    @property
    def stale(self) -> bool:
        """Whether it is of the past: a closed loop, or one of the process this was forked from."""
        return self._process is not _process or self.loop.is_closed()

    @property
    def here(self) -> bool:
        """Whether the caller is on the loop, and it runs."""
        # Thread and process are asked first: to ask for the present loop is a system call before
        # Python 3.12.
        unmoved = self._thread == get_ident() and self._process is _process
        return self.loop.is_running() and (unmoved or _present_loop() is self.loop)


_bindings: WeakKeyDictionary[object, LoopBinding] = WeakKeyDictionary()
_lock = Lock()


def bind_loop(connection: object, name: str, on_move: Callable[[], object] = bool) -> LoopBinding:
    """Bind what keeps connections to the present event loop, for as long as that one runs.

    Args:
        connection: An engine or a client, which stores and inboxes may share.
        name: Of a store that is connected by it.
        on_move: Called when it was bound to another one, which has ended for good.

    Returns:
        The same for all who share it.

    Raises:
        ConfigError: It is bound to another event loop that runs.
    """
    with _lock:
        binding = _bindings.get(connection)
        if binding is not None and binding.here:
            return binding
        if binding is not None:
            if binding.alive:
                raise used_elsewhere(name)
            if binding.stale:
                on_move()
        _bindings[connection] = binding = LoopBinding()
        return binding


def binding_of(connection: object) -> LoopBinding | None:
    """Return the binding of an engine or a client, ``None`` if it is not in use."""
    try:
        with _lock:
            binding = _bindings.get(connection)
    except TypeError:  # what no dictionary may hold weakly was never bound
        return None
    return binding if binding is not None and binding.alive else None


def used_elsewhere(name: str) -> ConfigError:
    """Make the error about a store that is used on two event loops at a time."""
    return ConfigError(
        f"this {name} store runs on another event loop, that of another thread, and cannot serve "
        "two: build one Dedup and pass it in place of the store to all who use it, whose .sync(…) "
        "then asks it where it runs; or pass each the store's URL, so that each has its own"
    )


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
