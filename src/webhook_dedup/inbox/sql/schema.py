"""The table of deliveries."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Double, Index, Integer, LargeBinary, MetaData, Table, Text

from ...backends.sql.schema import OrderedText, VersionedTable

__all__ = ["VERSION", "schema"]

VERSION = 2


def schema(table: str) -> VersionedTable:
    """Return the table of deliveries and its version."""
    return VersionedTable(
        table,
        VERSION,
        _items,
        "let that release run what is waiting first",
        # Room for the next version of each row: counting an attempt then touches no index, and
        # writes to the log only what is new.
        fillfactor=50,
    )


def _items(name: str, metadata: MetaData) -> Table:
    items = Table(
        name,
        metadata,
        Column("id", OrderedText, primary_key=True),
        Column("received_at", Double, nullable=False),
        Column("source", Text, nullable=False),
        Column("event_id", Text, nullable=False),
        Column("key", Text, nullable=False),
        Column("key_digest", LargeBinary),  # null where the event has no key
        Column("due", Double),  # null in a dead letter
        Column("came_due", Double, nullable=False),  # of the hold: when it was put, or came due
        Column("token", Text),  # null after a person stepped in
        Column("spent", Text),  # the verb that ended the token's hold
        Column("begun", Boolean, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("cut_off", Integer, nullable=False),  # attempts that never ended
        Column("deferred", Boolean, nullable=False),
        Column("last_error", Text),
        Column("history", Text, nullable=False),
        Column("head", LargeBinary, nullable=False),
        Column("body", LargeBinary, nullable=False),
    )
    dead = items.c.due.is_(None)
    Index(f"{name}_due", items.c.due, sqlite_where=~dead, postgresql_where=~dead)
    Index(f"{name}_dead_key", items.c.key_digest, sqlite_where=dead, postgresql_where=dead)
    Index(f"{name}_received", items.c.received_at, items.c.id)
    # Any length, which the ordered indexes of Postgres do not take.
    Index(f"{name}_event", items.c.event_id, postgresql_using="hash")
    return items
