"""Which event loop each store is in use on, and that it is one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Protocol
from weakref import WeakSet

from .contracts import Store, never_waits
from .loop_binding import binding_of, used_elsewhere

__all__ = ["StoreUser", "joining_loop", "loop_of"]


class StoreUser(Protocol):
    """Who starts a store: a ``Dedup``."""

    store: Store

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop it uses the store on, ``None`` while it does not."""


_users: WeakSet[StoreUser] = WeakSet()
_lock = Lock()


@contextmanager
def joining_loop(user: StoreUser) -> Iterator[None]:
    """Let a user, within the ``with``, bind itself to the present event loop.

    Raises:
        ConfigError: Its store is in use on another one.
    """
    with _lock:
        if not never_waits(user.store) and any(map(_is_elsewhere, _users_of(user.store))):
            raise used_elsewhere(user.store.name)
        _users.add(user)
        yield


def loop_of(store: Store) -> asyncio.AbstractEventLoop | None:
    """Return the event loop that alone can serve a store now, ``None`` if any can."""
    if never_waits(store):
        return None
    with _lock:
        loops = [user.loop for user in _users_of(store)]
    binding = binding_of(getattr(store, "connection", None))
    return next(filter(None, loops), None if binding is None else binding.loop)


def _users_of(store: Store) -> list[StoreUser]:
    return [user for user in _users if user.store is store]


def _is_elsewhere(user: StoreUser) -> bool:
    return user.loop not in {None, asyncio.get_running_loop()}
