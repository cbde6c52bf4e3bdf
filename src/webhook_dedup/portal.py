"""One ``Dedup`` per store and event loop, for decorators; and a loop for code that has none."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from .contracts import Store
from .dedup import Dedup
from .store_loops import loop_of
from .stores import MemoryStore

__all__ = ["call_in_portal", "shared"]

logger = logging.getLogger("webhook_dedup")

T = TypeVar("T")

_Dedups = dict[object, Dedup]

# For each event loop its Dedups by store, and what stops them when the loop is shut down.
_by_loop: dict[asyncio.AbstractEventLoop, tuple[_Dedups, AsyncGenerator[None, None]]] = {}
# What lives in memory lives as long as the process, whatever becomes of its event loops.
_memory = MemoryStore()
_portals: dict[int, asyncio.AbstractEventLoop] = {}
_lock = threading.Lock()


async def shared(store: Dedup | Store | str) -> Dedup:
    """Return the started ``Dedup`` that all decorators over a store share on this event loop."""
    dedups = await _dedups_of_loop()
    name: object = store if isinstance(store, str) else id(store)
    dedup = dedups.get(name)
    if dedup is None:
        dedup = dedups[name] = _dedup_over(store)
    if not dedup.running:
        await dedup.start()
    return dedup


def _dedup_over(store: Dedup | Store | str) -> Dedup:
    if isinstance(store, Dedup):
        return store
    return Dedup(_memory if store == "memory://" else store)


async def _dedups_of_loop() -> _Dedups:
    loop = asyncio.get_running_loop()
    if loop not in _by_loop:
        for ended in [other for other in list(_by_loop) if other.is_closed()]:
            _by_loop.pop(ended, None)
        dedups: _Dedups = {}
        stopper = _stopper(dedups)
        await stopper.__anext__()
        _by_loop[loop] = dedups, stopper
    return _by_loop[loop][0]


async def _stopper(dedups: _Dedups) -> AsyncGenerator[None, None]:
    """Stop what was started for decorators, which see no lifespan.

    ``asyncio.run`` and its like close the generators that are still open before they close their
    event loop.
    """
    try:
        yield
    finally:
        for dedup in dedups.values():
            try:
                await dedup.stop()
            except Exception:
                logger.exception("store %s could not be closed", dedup.store.name)


def _loop_in_use(store: Dedup | Store | str) -> asyncio.AbstractEventLoop | None:
    if isinstance(store, str):
        return None
    return store.loop if isinstance(store, Dedup) else loop_of(store)


def call_in_portal(store: Dedup | Store | str, work: Callable[[Dedup], Awaitable[T]]) -> T:
    """Run ``work`` on another thread's event loop and block until it has ended.

    That is the loop which a :class:`Dedup` or a store that was passed in is used on already, the
    server's if the middleware started it; for anything else it is this process's background loop.

    Raises:
        RuntimeError: The caller is on that loop, which would wait for itself for ever.
    """

    async def run() -> T:
        return await work(await shared(store))

    loop = _loop_in_use(store) or _portal()
    if asyncio._get_running_loop() is loop:  # noqa: SLF001 - documented, and None without a loop
        raise RuntimeError(
            ".sync(…) was called on the event loop that it would wait for: await the async form "
            "there, such as 'async with once(…)', or make the function that calls it a plain def"
        )
    future = asyncio.run_coroutine_threadsafe(run(), loop)
    try:
        return future.result()
    except BaseException:  # a time limit of the caller's worker, for example
        future.cancel()
        raise


def _portal() -> asyncio.AbstractEventLoop:
    """Return this process's background loop.

    A forked child (Celery's prefork) inherits no thread, so it gets a loop of its own.
    """
    with _lock:
        pid = os.getpid()
        if pid not in _portals:
            loop = _portals[pid] = asyncio.new_event_loop()
            name = f"webhook_dedup-portal-{pid}"
            threading.Thread(target=_run, args=(loop,), name=name, daemon=True).start()
        return _portals[pid]


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run a background loop for as long as the process.

    ``SystemExit`` and its like leave a loop in the middle. Out of a function that was called here
    they are meant for its caller, who waits in another thread and is told by what the loop does
    next.
    """
    while not loop.is_closed():
        with contextlib.suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()
