"""Which way leads below SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncEngine

from .direct import Driver, is_ours
from .lending import Lending
from .writer import Writer

__all__ = ["driver_of"]

_DRIVERS: dict[str, Callable[[AsyncEngine], Driver]] = {"asyncpg": Lending, "aiosqlite": Writer}


def driver_of(engine: AsyncEngine) -> Driver | None:
    """Return the shortest way to the database of an engine, if there is one below SQLAlchemy."""
    driver = _DRIVERS.get(engine.dialect.driver) if is_ours(engine) else None
    return None if driver is None else driver(engine)
