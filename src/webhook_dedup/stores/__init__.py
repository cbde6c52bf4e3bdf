"""Where claims live. Each store loads its own libraries, and only when it is used."""

from __future__ import annotations

import importlib
from typing import Any, cast

from ..contracts import Store
from ..errors import ConfigError
from .memory import MemoryStore
from .seen import SeenCache

__all__ = ["MemoryStore", "SeenCache", "open_store"]

# scheme (before any "+driver") -> module and class
_STORES = {
    "bloom": ("bloom", "BloomStore"),
    "postgres": ("sql", "SqlStore"),
    "postgresql": ("sql", "SqlStore"),
    "redis": ("redis", "RedisStore"),
    "rediss": ("redis", "RedisStore"),
    "sqlite": ("sql", "SqlStore"),
    "unix": ("redis", "RedisStore"),
    "valkey": ("redis", "RedisStore"),
    "valkeys": ("redis", "RedisStore"),
}
_EXAMPLES = "memory://, sqlite:///webhooks.db, postgresql://…, redis://… or bloom://"


def open_store(url: str, **options: Any) -> Store:
    """Make the store a URL names. Nothing is connected before it is started or used.

    Args:
        url: ``memory://``, ``sqlite:///file.db``, ``postgresql://…``, ``redis://…`` (also
            ``rediss``, ``valkey``, ``unix``, ``redis+sentinel``, ``redis+cluster``) or
            ``bloom://?capacity=…&error_rate=…``.
        options: Passed on to the store's ``from_url``.

    Raises:
        ConfigError: The scheme is unknown, or the URL does not fit its store.
        MissingExtra: The store's packages are not installed.
    """
    scheme, separator, place = str(url).partition("://")
    if not separator:
        _, password, rest = repr(url).rpartition("@")
        shown, query, _ = rest.partition("?")  # another may be in the query
        got = f"'…@{shown}" if password else shown
        got += "?…'" if query else ""
        raise ConfigError(f"a store is named by a URL such as {_EXAMPLES}; got {got}")
    if scheme == "memory":
        if place:
            raise ConfigError(
                f"memory:// is the whole URL of a store in memory, which takes no options; got "
                f"{place!r} behind it"
            )
        return MemoryStore(**options)
    try:
        module, name = _STORES[scheme.partition("+")[0]]
    except KeyError:
        raise ConfigError(f"no store is named {scheme}://; write {_EXAMPLES}") from None
    store = getattr(importlib.import_module(f".{module}", __name__), name)
    return cast(Store, store.from_url(url, **options))
