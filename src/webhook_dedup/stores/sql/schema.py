"""The tables, their version, and how they come to be."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    ClauseElement,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    insert,
    inspect,
    select,
)
from sqlalchemy.engine import Dialect as SqlalchemyDialect
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.schema import CreateIndex, CreateTable

from ...backends.sql.dialects import Dialect
from ...errors import SchemaError

__all__ = ["VERSION", "Schema"]

VERSION = 1


class Schema:
    """The table of claims and, beside it, the one row that tells its version.

    Args:
        table: Name of the table of claims, with the database schema before a dot if need be.
    """

    def __init__(self, table: str) -> None:
        schema, _, name = table.rpartition(".")
        self.name = table
        self._metadata = MetaData(schema=schema or None)
        self.claims = _claims(name, self._metadata)
        self._versions = Table(
            f"{name}_version",
            self._metadata,
            Column("version", Integer, primary_key=True, autoincrement=False),
        )

    async def prepare(self, engine: AsyncEngine, dialect: Dialect, *, create: bool) -> None:
        """Make sure that the tables are there, in this version.

        Raises:
            SchemaError: They are absent and may not be made, or are of another version.
        """
        async with engine.connect() as connection:
            found = await connection.run_sync(self._find)
        if found is None and create:
            async with dialect.exclusively(engine, self.name) as connection:
                found = await connection.run_sync(self._create)
        if found is None:
            raise SchemaError(
                f"table {self.name} is absent; pass create=True, or run:\n"
                f"{self.ddl(engine.dialect)}"
            )
        if found != VERSION:
            raise SchemaError(
                f"table {self.name} has version {found}, this release needs {VERSION}; use the "
                "release that made it, or pass another table= (what was claimed is forgotten)"
            )

    def ddl(self, dialect: SqlalchemyDialect) -> str:
        """Return the statements that make the tables, for those who make them by hand."""
        statements: list[ClauseElement] = [
            *(CreateTable(table) for table in self._metadata.sorted_tables),
            *(CreateIndex(index) for index in self.claims.indexes),
            insert(self._versions).values(version=VERSION),
        ]
        texts = [
            str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
            for statement in statements
        ]
        return "\n".join(f"{text.strip()};" for text in texts)

    def _find(self, connection: Connection) -> int | None:
        """Return the version that is there, ``None`` when a table is absent."""
        there = inspect(connection)
        for table in self._metadata.sorted_tables:
            if not there.has_table(table.name, schema=table.schema):
                return None
        return connection.scalar(select(self._versions.c.version))

    def _create(self, connection: Connection) -> int | None:
        if self._find(connection) is None:
            self._metadata.create_all(connection)
            if self._find(connection) is None:
                connection.execute(insert(self._versions).values(version=VERSION))
        return self._find(connection)


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
