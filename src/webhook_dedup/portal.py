"""One ``Dedup`` per store and event loop, for decorators; and a loop for code that has none."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

from .contracts import Store
from .dedup import Dedup

__all__ = ["call_in_portal", "shared"]

T = TypeVar("T")

_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[object, Dedup]] = WeakKeyDictionary()
_portals: dict[int, asyncio.AbstractEventLoop] = {}
_lock = threading.Lock()


async def shared(store: Dedup | Store | str) -> Dedup:
    """Return the started ``Dedup`` that all decorators over a store share on this event loop."""
    if isinstance(store, Dedup):
        dedup = store
    else:
        dedups = _by_loop.setdefault(asyncio.get_running_loop(), {})
        name: object = store if isinstance(store, str) else id(store)
        dedup = dedups.get(name) or dedups.setdefault(name, Dedup(store))
    if not dedup.running:
        await dedup.start()
    return dedup


def call_in_portal(store: Dedup | Store | str, work: Callable[[Dedup], Awaitable[T]]) -> T:
    """Run ``work`` on this process's background event loop and block until it has ended."""

    async def run() -> T:
        return await work(await shared(store))

    return asyncio.run_coroutine_threadsafe(run(), _portal()).result()


def _portal() -> asyncio.AbstractEventLoop:
    """Return this process's background loop.

    A forked child (Celery's prefork) inherits no thread, so it gets a loop of its own.
    """
    with _lock:
        pid = os.getpid()
        if pid not in _portals:
            loop = _portals[pid] = asyncio.new_event_loop()
            name = f"webhook_dedup-portal-{pid}"
            threading.Thread(target=loop.run_forever, name=name, daemon=True).start()
        return _portals[pid]
