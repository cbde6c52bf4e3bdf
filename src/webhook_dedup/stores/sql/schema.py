"""The table of claims."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Double, Index, LargeBinary, MetaData, Table, Text

from ...backends.sql.schema import VersionedTable

__all__ = ["VERSION", "schema"]

VERSION = 1


def schema(table: str) -> VersionedTable:
    """Return the table of claims and its version."""
    return VersionedTable(table, VERSION, _claims, "what was claimed is forgotten")


def _claims(name: str, metadata: MetaData) -> Table:
    return Table(
        name,
        metadata,
        Column("digest", LargeBinary, primary_key=True),
        Column("key", Text, nullable=False),
        Column("token", Text, nullable=False),
        Column("done", Boolean, nullable=False),
        Column("fingerprint", LargeBinary),
        Column("result", LargeBinary),
        Column("first_seen", Double, nullable=False),
        Column("expires_at", Double, nullable=False),
        Index(f"{name}_expires_at", "expires_at"),
    )
