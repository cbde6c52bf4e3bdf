"""Which way leads below SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from .aiosqlite_driver import AiosqliteDriver
from .asyncpg_driver import AsyncpgDriver
from .direct import Driver, is_ours

__all__ = ["driver_of"]

_DRIVERS: dict[str, Callable[[AsyncEngine], Driver]] = {
    "asyncpg": AsyncpgDriver,
    "aiosqlite": AiosqliteDriver,
}


def driver_of(engine: AsyncEngine) -> Driver | None:
    """Return the shortest way to the database of an engine, if there is one below SQLAlchemy."""
    driver = _DRIVERS.get(engine.dialect.driver) if is_ours(engine) else None
    return None if driver is None else driver(engine)
