"""The SQL inbox keeps the inbox contract on both of its databases."""

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from tests.inbox.sql_support import TABLE, meddle
from webhook_dedup.inbox.sql import SqlInbox
from webhook_dedup.testing import InboxContract
from webhook_dedup.testing.inbox_rules.concurrency import ConcurrencyRules


class SqlContract(InboxContract):
    lease = 0.05
    margin = 0.02

    @pytest.fixture
    async def inbox(self, url):
        inbox = SqlInbox.from_url(url)
        yield inbox
        await inbox.aclose()

    async def spoil(self, inbox, item_id):
        spoiling = f"UPDATE {TABLE} SET head = :head WHERE id = :id"
        await meddle(inbox, spoiling, head=b"\xff{", id=item_id)
        return True


class TestSqlite(SqlContract):
    @pytest.fixture
    def url(self, tmp_path):
        return f"sqlite:///{tmp_path}/inbox.db"


class TestPostgres(SqlContract):
    @pytest.fixture
    def url(self, postgres_url):
        return postgres_url


class TestRepeatableReadEngine(ConcurrencyRules):
    """An engine whose every transaction, a single statement's too, sees one snapshot."""

    @pytest.fixture
    async def inbox(self, postgres_url):
        settings = {"default_transaction_isolation": "repeatable read"}
        engine = create_async_engine(
            postgres_url.replace("postgresql:", "postgresql+asyncpg:"),
            isolation_level="REPEATABLE READ",
            connect_args={"server_settings": settings},
        )
        inbox = SqlInbox(engine)
        yield inbox
        await inbox.aclose()
        await engine.dispose()
