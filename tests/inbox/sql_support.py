"""What the tests of the SQL inbox share."""

from __future__ import annotations

from contextlib import asynccontextmanager

from sqlalchemy import text

from webhook_dedup.inbox.sql import SqlInbox

TABLE = "webhook_dedup_inbox"


@asynccontextmanager
async def opened(url, **options):
    """An inbox that is closed in the end."""
    inbox = SqlInbox.from_url(url, **options)
    try:
        yield inbox
    finally:
        await inbox.aclose()


async def meddle(inbox, statement, **parameters):
    """Do something to the database behind the inbox's back."""
    async with inbox._database.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        return await connection.execute(text(statement), parameters)
