"""Behind a pooler nothing may be left with a server, nor be expected to be there."""

import struct

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.proxy import Proxy
from tests.stores.sql_support import bids, opened, outcomes
from webhook_dedup.errors import ConfigError, StoreError, StoreUnavailable
from webhook_dedup.inbox.sql import SqlInbox
from webhook_dedup.model import Outcome
from webhook_dedup.stores.sql import SqlStore
from webhook_dedup.testing.inbox_rules.case import an_item
from webhook_dedup.testing.store_rules.case import LONG_LEASE

PREPARED = text(
    "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%webhook_dedup%'"
)
KEY_DATA = b"K\0\0\0\x0c"  # https://www.postgresql.org/docs/current/protocol-message-formats.html
NO_TLS = b"N"
SETTINGS = ("enable_seqscan", "jit")


class Pooler(Proxy):
    """Shows another process id than the server's own, by which a pooler is known."""

    def altered(self, reply):
        head, found, tail = reply.partition(KEY_DATA)
        return head + found + (b"\0\0\0\x07" + tail[4:] if found else b"")


class Refusing(Proxy):
    """Ends each log-in as PgBouncer does: with one code, whatever the reason."""

    reason = ""

    def altered(self, reply):
        if reply == NO_TLS:
            return reply
        fields = f"SFATAL\0C08P01\0M{self.reason}\0\0".encode()
        return b"E" + struct.pack(">i", 4 + len(fields)) + fields


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


async def test_the_drivers_own_questions_stay_together(postgres_url):
    """What asyncpg asks about arrays it asks when it is connected, where one server answers it all.

    Along with the first statements it would turn off ``jit`` on one server, which would stay so,
    and ask another, which compiled the question for a second.
    """
    asked = []

    def watch(connection, _):
        connection.driver_connection.add_query_logger(lambda query: asked.append(query.query))

    async with opened(postgres_url) as first:
        await SqlInbox.beside(first).start()
        await first.start()  # a table that is made has everything asked again
    async with Pooler.to(postgres_url) as pooler, opened(pooler.through(postgres_url)) as store:
        await store.claim(bids(1))
        await store.connection.dispose()
        event.listen(store.connection.sync_engine, "connect", watch)
        await used(store)
        inbox = SqlInbox.beside(store)
        await inbox.put([an_item()], 0.0)
        await inbox.begin(await inbox.take(1, LONG_LEASE))
    assert asked
    assert not [query for query in asked if "jit" in query or "pg_type" in query]


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("transaction blocks not allowed in statement pooling mode", "pool_mode = transaction"),
        ("unsupported startup parameter: options", "name a schema in table="),
        ("no such database: nope", "that the pooler knows"),
        ("no such user: nobody", "that the pooler knows"),
        ("password authentication failed", "check the user and password"),
    ],
)
async def test_what_a_person_must_mend_in_a_pooler_is_named(postgres_url, driver, reason, remedy):
    """It is no outage that would pass."""
    async with Refusing.to(postgres_url) as pooler:
        pooler.reason = reason
        url = pooler.through(postgres_url).replace("postgresql", driver, 1)
        async with opened(url) as store:
            with pytest.raises(ConfigError, match=remedy):
                await store.start()


@pytest.mark.parametrize(
    "reason",
    [
        "no more connections allowed (max_client_conn)",
        "pgbouncer cannot connect to server",
        "server login has been failing, try again later (server_login_retry)",
        "query_wait_timeout",
        "server conn crashed?",
    ],
)
async def test_a_pooler_that_has_no_connection_now_is_an_outage(postgres_url, driver, reason):
    """It passes, so it is waited for."""
    async with Refusing.to(postgres_url) as pooler:
        pooler.reason = reason
        url = pooler.through(postgres_url).replace("postgresql", driver, 1)
        async with opened(url) as store:
            with pytest.raises(StoreUnavailable):
                await store.start()


async def test_an_engine_that_prepares_behind_a_pooler_is_told(postgres_url):
    """The statement that it prepared is unknown to the server it reaches next."""
    url = postgres_url.replace("postgresql", "postgresql+asyncpg", 1)
    engine = create_async_engine(url, pool_size=1)
    store = SqlStore(engine)
    try:
        await used(store)
        async with engine.connect() as connection:
            await connection.exec_driver_sql("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$")
        with pytest.raises(StoreError, match="statement_cache_size=0"):
            await used(store)
    finally:
        await store.aclose()
        await engine.dispose()
