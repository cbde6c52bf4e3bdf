"""The SQL inbox keeps the inbox contract on both of its databases."""

import pytest

from tests.inbox.sql_support import TABLE, meddle
from tests.stores.sql_support import snapshot_engine
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
    @pytest.fixture
    async def inbox(self, postgres_url):
        async with snapshot_engine(postgres_url) as engine:
            inbox = SqlInbox(engine)
            yield inbox
            await inbox.aclose()
