"""Behind a pooler nothing may be left with a server, nor be expected to be there."""

import pytest
from sqlalchemy import text

from tests.proxy import Proxy
from tests.stores.sql_support import bids, opened, outcomes
from webhook_dedup.model import Outcome
from webhook_dedup.testing.store_rules.case import LONG_LEASE

PREPARED = text(
    "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%webhook_dedup%'"
)
KEY_DATA = b"K\0\0\0\x0c"  # https://www.postgresql.org/docs/current/protocol-message-formats.html
SETTINGS = ("enable_seqscan", "jit")


class Pooler(Proxy):
    """Shows another process id than the server's own, by which a pooler is known."""

    def altered(self, reply):
        head, found, tail = reply.partition(KEY_DATA)
        return head + found + (b"\0\0\0\x07" + tail[4:] if found else b"")


@pytest.fixture(params=["postgresql", "postgresql+psycopg"])
def driver(request):
    return request.param


async def used(store):
    """Use a store until its driver prepares what it sends; return how much it has prepared."""
    for _ in range(10):
        held = await store.claim(bids(3))
        assert outcomes(held) == {Outcome.FRESH}
        assert all(await store.renew(held, LONG_LEASE))
    async with store.connection.connect() as connection:
        return (await connection.execute(PREPARED)).scalar()


async def test_nothing_is_prepared_behind_a_pooler(postgres_url, driver):
    """The next statement may reach another server, or the same name be somebody else's there."""
    async with Pooler.to(postgres_url) as pooler:
        url = pooler.through(postgres_url).replace("postgresql", driver, 1)
        async with opened(url) as store:
            assert await used(store) == 0
            async with store.connection.connect() as connection:
                for name in SETTINGS:
                    told = await connection.exec_driver_sql(f"SHOW {name}")
                    assert told.scalar() == "on"


async def test_what_a_server_knows_is_prepared(postgres_url, driver):
    """Without a pooler, statements are."""
    async with opened(postgres_url.replace("postgresql", driver, 1)) as store:
        assert await used(store) > 0


async def test_a_pooler_that_knows_prepared_statements(postgres_url):
    """The URL may say how much is to be prepared all the same."""
    async with Pooler.to(postgres_url) as pooler:
        url = f"{pooler.through(postgres_url)}?statement_cache_size=100"
        async with opened(url) as store:
            assert await used(store) > 0
