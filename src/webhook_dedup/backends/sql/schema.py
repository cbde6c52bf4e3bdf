"""A table, its version beside it, and how both come to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import (
    ClauseElement,
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    Text,
    delete,
    insert,
    inspect,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect as SqlalchemyDialect
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.schema import CreateIndex, CreateTable

from ...errors import SchemaError, TableAbsent
from .dialects import Dialect

__all__ = ["OrderedText", "VersionedTable"]

OrderedText = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
"""Text that has everywhere the same order, whatever the language of the database."""


class VersionedTable:
    """A table and, beside it, the one row that tells its version.

    Args:
        name: Of the table, with the database schema before a dot if need be.
        version: That this release writes and reads.
        build: Makes the table of its bare name.
        moving: What passing another name costs, for the message about another version.
        fillfactor: Percent of a page that Postgres fills with new rows; its default if ``None``.
    """

    def __init__(
        self,
        name: str,
        version: int,
        build: Callable[[str, MetaData], Table],
        moving: str,
        *,
        fillfactor: int | None = None,
    ) -> None:
        schema, _, bare = name.rpartition(".")
        self.name = name
        self._version = version
        self._moving = moving
        self._fillfactor = fillfactor
        self._metadata = MetaData(schema=schema or None)
        self.table = build(bare, self._metadata)
        self._versions = Table(
            f"{bare}_version",
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
            raise TableAbsent(
                f"table {self.name} is absent; pass create=True, or run:\n"
                f"{self.ddl(engine.dialect)}"
            )
        if found != self._version:
            raise SchemaError(
                f"table {self.name} has version {found}, this release needs {self._version}; use "
                f"the release that made it, or pass another table= ({self._moving})"
            )

    def ddl(self, dialect: SqlalchemyDialect) -> str:
        """Return the statements that make the tables, for those who make them by hand."""
        statements: list[ClauseElement] = [
            *(CreateTable(table) for table in self._metadata.sorted_tables),
            *(CreateIndex(index) for index in self.table.indexes),
            insert(self._versions).values(version=self._version),
        ]
        texts = [
            str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
            for statement in statements
        ]
        return "\n".join(f"{text.strip()};" for text in (*texts, *self._settings(dialect)))

    def _settings(self, dialect: SqlalchemyDialect) -> Sequence[str]:
        """Return what is said of the table once it is there.

        SQLAlchemy can say it while it makes the table from 2.1 on only.
        """
        if self._fillfactor is None or dialect.name != "postgresql":
            return ()
        name = dialect.identifier_preparer.format_table(self.table)
        return (f"ALTER TABLE {name} SET (fillfactor = {self._fillfactor})",)

    def _find(self, connection: Connection) -> int | None:
        """Return the version that is there, ``None`` when a table is absent."""
        there = inspect(connection)
        for table in self._metadata.sorted_tables:
            if not there.has_table(table.name, schema=table.schema):
                return None
        return connection.scalar(select(self._versions.c.version))

    def _create(self, connection: Connection) -> int | None:
        if self._find(connection) is None:
            is_new = not inspect(connection).has_table(self.table.name, schema=self.table.schema)
            self._metadata.create_all(connection)
            if is_new:  # the version that may be there is of one that was dropped
                connection.execute(delete(self._versions))
            for setting in self._settings(connection.dialect):
                connection.exec_driver_sql(setting)
            if self._find(connection) is None:
                connection.execute(insert(self._versions).values(version=self._version))
        return self._find(connection)
