"""The SQL store keeps the store contract on both of its databases."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from webhook_dedup.stores.sql import SqlStore
from webhook_dedup.testing import StoreContract

WITHOUT_EXPIRY = text(
    "SELECT key FROM webhook_dedup_claims WHERE expires_at IS NULL OR expires_at > 1e11"
)


class SqlContract(StoreContract):
    @pytest.fixture
    async def store(self, url):
        store = SqlStore.from_url(url)
        yield store
        await store.aclose()

    async def unexpiring(self, store):
        async with store._engine.connect() as connection:
            return [row.key for row in await connection.execute(WITHOUT_EXPIRY)]


class TestSqlite(SqlContract):
    @pytest.fixture
    def url(self, tmp_path):
        return f"sqlite:///{tmp_path}/claims.db"


class TestPostgres(SqlContract):
    @pytest.fixture
    def url(self, postgres_url):
        return postgres_url.replace("postgresql:","postgresql+psycopg:")
