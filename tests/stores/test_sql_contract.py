"""The SQL store keeps the store contract on both of its databases."""

import pytest
from sqlalchemy import text

from tests.stores.sql_support import TABLE, snapshot_engine
from webhook_dedup.stores.sql import SqlStore
from webhook_dedup.testing import StoreContract
from webhook_dedup.testing.store_rules.concurrency import ConcurrencyRules

FAR = 1e11  # an expiry in the year 5138 is none
WITHOUT_EXPIRY = text(f"SELECT key FROM {TABLE} WHERE expires_at IS NULL OR expires_at > {FAR}")


class SqlContract(StoreContract):
    lease = ttl = 0.05
    margin = 0.02

    @pytest.fixture
    async def store(self, url):
        store = SqlStore.from_url(url)
        yield store
        await store.aclose()

    async def unexpiring(self, store):
        async with store.connection.connect() as connection:
            return [row.key for row in await connection.execute(WITHOUT_EXPIRY)]


class TestSqlite(SqlContract):
    @pytest.fixture
    def url(self, tmp_path):
        return f"sqlite:///{tmp_path}/claims.db"


class TestPostgres(SqlContract):
    @pytest.fixture
    def url(self, postgres_url):
        return postgres_url


class TestRepeatableReadEngine(ConcurrencyRules):
    @pytest.fixture
    async def store(self, postgres_url):
        async with snapshot_engine(postgres_url) as engine:
            store = SqlStore(engine)
            yield store
            await store.aclose()
