"""The SQL inbox keeps the inbox contract on both of its databases."""

import pytest
from sqlalchemy import text

from webhook_dedup.inbox.sql import SqlInbox
from webhook_dedup.testing import InboxContract

TABLE = "webhook_dedup_inbox"


class SqlContract(InboxContract):
    lease = 0.05
    margin = 0.02

    @pytest.fixture
    async def inbox(self, url):
        inbox = SqlInbox.from_url(url)
        yield inbox
        await inbox.aclose()

    async def spoil(self, inbox, item_id):
        spoiling = text(f"UPDATE {TABLE} SET head = :head WHERE id = :id")
        async with inbox._database.engine.connect() as connection:
            await connection.execute(spoiling, {"head": b"\xff{", "id": item_id})
        return True


class TestSqlite(SqlContract):
    @pytest.fixture
    def url(self, tmp_path):
        return f"sqlite:///{tmp_path}/inbox.db"


class TestPostgres(SqlContract):
    @pytest.fixture
    def url(self, postgres_url):
        return postgres_url
