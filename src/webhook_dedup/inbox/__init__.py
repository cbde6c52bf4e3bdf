"""Where accepted deliveries live until they are settled."""

from __future__ import annotations

import importlib
from typing import cast

from ..contracts import Inbox, Store
from .memory import MemoryInbox

__all__ = ["MemoryInbox", "inbox_beside"]

# name of a store -> module and class of the inbox that can share its connection
_INBOXES = {
    "postgres": ("sql", "SqlInbox"),
    "redis": ("redis", "RedisInbox"),
    "sqlite": ("sql", "SqlInbox"),
}


def inbox_beside(store: Store) -> Inbox:
    """Make the inbox that is durable where a store is: same file, same Postgres, same Redis.

    Beside a store that shares no connection it lives in memory.
    """
    entry = _INBOXES.get(store.name)
    if entry is None or not hasattr(store, "connection"):
        return MemoryInbox()
    module, name = entry
    inbox = getattr(importlib.import_module(f".{module}", __name__), name)
    return cast(Inbox, inbox.beside(store))
