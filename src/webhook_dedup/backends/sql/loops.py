"""A connection of aiosqlite is used on the event loop it was made on, and on no other.

Its thread dies when it answers a loop that is closed, as ``asyncio.run`` leaves one behind in the
middle of a write; whoever asks that thread anything waits for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from threading import Thread
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

__all__ = ["keep_to_loops", "renew_pool"]

_LOOP = "webhook_dedup_loop"


_drivers: WeakKeyDictionary[Engine, WeakSet[Any]] = WeakKeyDictionary()


def keep_to_loops(engine: Engine) -> None:
    """Have the pool of an engine make a connection anew where it is asked on another loop."""
    drivers = _drivers[engine] = WeakSet()

    def note(connection: Any, entry: ConnectionPoolEntry) -> None:
        drivers.add(connection.driver_connection)
        entry.info[_LOOP] = asyncio.get_running_loop()

    event.listen(engine, "connect", note)
    event.listen(engine, "checkout", _check)
    event.listen(engine, "close", _part)


def renew_pool(engine: Engine) -> None:
    """Leave what an engine has to an event loop that is closed.

    The queue of its pool would go on belonging to that loop if ever a caller had to wait in it.
    """
    for driver in list(_drivers.get(engine, ())):
        _abandon(driver)
    engine.dispose(close=False)  # no other driver's connection can be closed on this loop


def _is_strange(entry: ConnectionPoolEntry) -> bool:
    return entry.info.get(_LOOP) is not asyncio.get_running_loop()


def _check(_: object, entry: ConnectionPoolEntry, __: object) -> None:
    if _is_strange(entry):
        raise DisconnectionError("made on another event loop")


def _part(connection: Any, entry: ConnectionPoolEntry) -> None:
    if _is_strange(entry):
        _abandon(connection.driver_connection)


def _abandon(driver: Any) -> None:
    """Close a connection without waiting for its thread, which may die at any moment."""
    whole, driver._connection = driver._connection, None  # noqa: SLF001 - closed, to all others
    if whole is None:
        return
    thread = getattr(driver, "_thread", driver)  # a thread itself, before aiosqlite 0.22
    if thread.is_alive():
        driver._tx.put_nowait((None, whole.close))  # noqa: SLF001 - what it is at comes first
        getattr(driver, "stop", bool)()
        Thread(target=_close_after, args=(thread, whole), daemon=True).start()
    else:
        whole.close()


def _close_after(thread: Thread, whole: sqlite3.Connection) -> None:
    """Close what a thread leaves open that dies of its next answer."""
    thread.join()
    with contextlib.suppress(sqlite3.ProgrammingError):  # the user wants it used by one thread
        whole.close()
