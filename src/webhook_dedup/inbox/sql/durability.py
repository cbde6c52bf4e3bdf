"""Whether a database keeps what it has committed, read from its settings."""

from __future__ import annotations

import logging

from sqlalchemy.ext.asyncio import AsyncConnection

from ...errors import ConfigError

__all__ = ["is_durable"]

logger = logging.getLogger("webhook_dedup")

_FULL = 2  # https://www.sqlite.org/pragma.html#pragma_synchronous


async def is_durable(connection: AsyncConnection, name: str) -> bool:
    """Say whether commits outlive a crash of the machine; log a WARNING with what to set.

    Raises:
        ConfigError: The SQLite file is not in UTF-8.
    """
    remedy = await (_of_sqlite if name == "sqlite" else _of_postgres)(connection)
    if remedy:
        logger.warning(
            "%s is no durable inbox: deliveries that were acknowledged are lost when its machine "
            "crashes; set %s",
            name,
            remedy,
        )
    return not remedy


async def _of_sqlite(connection: AsyncConnection) -> str:
    encoding = (await connection.exec_driver_sql("PRAGMA encoding")).scalar()
    if encoding != "UTF-8":
        raise ConfigError(f"the SQLite file is in {encoding}: name another file, in UTF-8")
    synchronous = (await connection.exec_driver_sql("PRAGMA synchronous")).scalar()
    return "" if (synchronous or 0) >= _FULL else "PRAGMA synchronous=FULL on each connection"


async def _of_postgres(connection: AsyncConnection) -> str:
    remedies = [
        f"{setting} = on"
        for setting in ("synchronous_commit", "fsync")
        if (await connection.exec_driver_sql(f"SHOW {setting}")).scalar() == "off"
    ]
    return ", ".join(remedies)
