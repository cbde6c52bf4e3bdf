"""Examines whether SQLite and Postgres would take what an app writes, without writing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy import Table, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from .finding import Finding, Level

__all__ = ["examine_writing"]

_NEEDED = ("SELECT", "INSERT", "UPDATE", "DELETE")
_TOO_LITTLE = 16 * 2**20  # the log beside the file gets as large before it is emptied
_LITTLE = 0.01
_GET_503 = "deliveries get 503"


async def examine_writing(connection: AsyncConnection, tables: Sequence[Table]) -> list[Finding]:
    """Examine rights and room; of Postgres, whether it only reads.

    Args:
        connection: To the database.
        tables: Those that are there.
    """
    if connection.dialect.name == "sqlite":
        databases = (await connection.exec_driver_sql("PRAGMA database_list")).all()
        file = Path(databases[0].file)
        return [*_access(file), *_room(file.parent)]
    found = await _only_reads(connection)
    for table in tables:
        found += await _rights(connection, table)
    return found


def _access(file: Path) -> Iterator[Finding]:
    # By the effective user, as when the file is opened.
    effective = os.access in os.supports_effective_ids
    for what, place in (("file", file), ("folder", file.parent)):
        if not os.access(place, os.W_OK, effective_ids=effective):
            yield Finding(
                Level.FAILURE,
                what,
                f"this user may not write to {place}: {_GET_503}",
                "let the app's user write to the file and, for the log beside it, to its folder",
            )


def _room(folder: Path) -> Iterator[Finding]:
    disk = shutil.disk_usage(folder)
    if disk.free < max(_TOO_LITTLE, disk.total * _LITTLE):
        full = disk.free < _TOO_LITTLE
        yield Finding(
            Level.FAILURE if full else Level.WARNING,
            "disk",
            f"{disk.free / 2**20:.0f} of {disk.total / 2**20:.0f} MiB are free at {folder}: when "
            f"the disk is full, {_GET_503}",
            "make room on the disk",
        )


async def _only_reads(connection: AsyncConnection) -> list[Finding]:
    if await connection.scalar(select(func.pg_is_in_recovery())):
        found, remedy = "this server is a replica", "give the primary's address"
    elif await connection.scalar(text("SHOW transaction_read_only")) == "on":
        found = "default_transaction_read_only is on"
        remedy = "set it to off where it was set: for the server, the database or the user"
    else:
        return []
    return [Finding(Level.FAILURE, "writes", f"{found}, which only reads: {_GET_503}", remedy)]


async def _rights(connection: AsyncConnection, table: Table) -> list[Finding]:
    quoted = connection.dialect.identifier_preparer
    name = quoted.format_table(table)
    missing = ", ".join(
        [
            right
            for right in _NEEDED
            if not await connection.scalar(select(func.has_table_privilege(name, right)))
        ]
    )
    if not missing:
        return []
    user = quoted.quote(await connection.scalar(text("SELECT current_user")) or "")
    return [
        Finding(
            Level.FAILURE,
            "rights",
            f"{user} has no right to {missing} on {name}: {_GET_503}",
            f"run: GRANT {missing} ON {name} TO {user}",
        )
    ]
