"""Lost replies, outages and restarts of Postgres."""

import asyncio
import traceback

import pytest
from asyncpg import InterfaceError
from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine

from tests.proxy import Proxy
from tests.stores.sql_support import impatient, opened, role, session
from webhook_dedup.backends.sql.faults import Fault, fault_of
from webhook_dedup.errors import StoreError, StoreUnavailable
from webhook_dedup.model import Bid, Outcome, Settlement, new_token
from webhook_dedup.stores.sql import SqlStore
from webhook_dedup.testing.store_rules.case import (
    LONG_LEASE,
    a_key,
    claim,
    complete,
    release,
    renew,
)

MANY = 100
FATAL = b"SFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
LAST_WORD = b"E" + (4 + len(FATAL)).to_bytes(4, "big") + FATAL


@pytest.fixture
async def proxy(postgres_url):
    async with Proxy.to(postgres_url) as proxy:
        yield proxy


@pytest.fixture
async def store(proxy, postgres_url):
    async with opened(proxy.through(postgres_url), timeout=5.0) as store:
        await store.start()
        yield store


async def test_a_claim_whose_reply_is_lost_is_fresh(store, proxy):
    """The store asks again by itself and recognises its own token."""
    token = new_token()
    lost = proxy.swallow_next_reply(token.encode())
    held = await claim(store, a_key(), token=token)
    assert lost.is_set()
    assert held.fresh


async def test_a_batch_whose_reply_is_lost_is_answered_as_before(store, proxy):
    """Fresh keys stay fresh and held ones held when the answer to their batch is lost."""
    held = await claim(store, a_key())
    token = new_token()
    lost = proxy.swallow_next_reply(token.encode())
    answers = await store.claim([Bid(held.key, token, LONG_LEASE), Bid(a_key(), token, LONG_LEASE)])
    assert lost.is_set()
    assert [answer.outcome for answer in answers] == [Outcome.IN_FLIGHT, Outcome.FRESH]


@pytest.mark.parametrize("verb", [complete, release, renew])
async def test_a_settlement_whose_reply_is_lost_succeeds(store, proxy, verb):
    """Completing, releasing and renewing give the same answer to their own repetition."""
    held = await claim(store, a_key())
    lost = proxy.swallow_next_reply(held.token.encode())
    assert await verb(store, held)
    assert lost.is_set()


async def test_connections_that_died_in_the_pool_are_not_noticed(store, proxy):
    """A cut of every idle connection costs no caller an error."""
    await asyncio.gather(*(claim(store, a_key()) for _ in range(10)))
    await proxy.cut()
    answers = await asyncio.gather(*(claim(store, a_key()) for _ in range(10)))
    assert all(answer.fresh for answer in answers)


async def test_connections_that_the_server_ended_are_not_noticed(postgres_url):
    """A server that ends its sessions costs no caller an error."""
    async with opened(postgres_url) as store:
        await claim(store, a_key())
        async with session(postgres_url) as admin:
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert (await claim(store, a_key())).fresh


async def test_a_server_that_does_not_answer_is_an_outage(proxy, postgres_url):
    """Behind a network that swallows everything, calls end with StoreUnavailable."""
    async with opened(proxy.through(postgres_url)) as store:
        held = await claim(store, a_key())
        proxy.black_hole()
        with impatient(store):
            with pytest.raises(StoreUnavailable, match=r"no answer within \S+ s$"):
                await complete(store, held)
            with pytest.raises(StoreUnavailable):
                await claim(store, a_key())
        proxy.restore()
        assert await complete(store, held)


@pytest.mark.parametrize("patience", [0.1, 60.0])
async def test_an_engine_whose_connections_are_all_held_is_named(postgres_url, patience):
    """The server would answer: it is the pool that has nothing left, whoever gives up first."""
    url = postgres_url.replace("postgresql", "postgresql+asyncpg", 1)
    engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=patience)
    store = SqlStore(engine)
    held = await claim(store, a_key())
    async with engine.connect():
        with impatient(store), pytest.raises(StoreUnavailable, match="an engine of its own"):
            await complete(store, held)
    assert await complete(store, held)
    await store.aclose()
    await engine.dispose()


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg"])
async def test_a_stopped_server_is_an_outage_and_ends(postgres_server, driver):
    """While the server is away the store is unavailable; afterwards it works and has its claims."""
    async with opened(postgres_server.url.replace("postgresql", driver, 1)) as store:
        held = await claim(store, a_key())
        for stop in (postgres_server.stop, postgres_server.kill):
            await asyncio.to_thread(stop)
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    await claim(store, a_key())
            await asyncio.to_thread(postgres_server.start)
            assert (await claim(store, held.key)).outcome is Outcome.IN_FLIGHT
        assert await complete(store, held)


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg"])
async def test_a_primary_that_was_replaced_is_left(postgres_url, driver):
    """Connections to a server that only reads are an outage, and are not used again."""
    url = postgres_url.replace("postgresql", driver, 1)
    async with opened(url) as store:
        held = await claim(store, a_key())
    name = postgres_url.rpartition("/")[2]
    async with session(postgres_url) as admin, opened(url) as store:
        await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="primary"):
                await complete(store, held)
        await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
        assert await complete(store, held)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_primary_that_was_replaced_is_left_by_an_engine_of_the_users(postgres_url, driver):
    """His pool, too, gives up the connection to what only reads by now."""
    name = postgres_url.rpartition("/")[2]
    engine = create_async_engine(postgres_url.replace("postgresql", f"postgresql+{driver}", 1))
    store = SqlStore(engine)
    async with session(postgres_url) as admin:
        held = await claim(store, a_key())
        await engine.dispose()
        await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="primary"):
                await complete(store, held)
        await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
        assert await complete(store, held)
    await store.aclose()
    await engine.dispose()


async def test_a_restart_between_calls_is_not_noticed(postgres_server):
    """A server that restarts while nobody asks costs no caller an error."""
    async with opened(postgres_server.url) as store:
        await claim(store, a_key())
        await asyncio.to_thread(postgres_server.stop)
        await asyncio.to_thread(postgres_server.start)
        assert (await claim(store, a_key())).fresh


async def test_a_start_that_failed_is_repeated(postgres_server):
    """A store built while the server is away starts when the server does."""
    await asyncio.to_thread(postgres_server.stop)
    async with opened(postgres_server.url) as store:
        with pytest.raises(StoreUnavailable):
            await store.start()
        with pytest.raises(StoreUnavailable):
            await claim(store, a_key())
        await asyncio.to_thread(postgres_server.start)
        assert (await claim(store, a_key())).fresh


def ending(store, end, *, times):
    """Have the server end so many connections of a store before anything is said on them."""
    left = iter(range(times))

    def made(connection, _):
        if next(left, None) is not None:
            connection.run_async(end)

    event.listen(store.connection.sync_engine, "connect", made, insert=True)


async def ended(driver):
    """End a connection as the server would, and hear of it."""
    gone = asyncio.Event()
    driver.add_termination_listener(lambda _: gone.set())
    driver.terminate()
    await gone.wait()


async def ending_soon(driver):
    """Hear the server's last word on a connection, whose end is still under way."""
    driver._protocol.data_received(LAST_WORD)


async def test_a_start_on_a_connection_that_is_lost_is_repeated(postgres_url):
    """A server that ends what it has just accepted is a passing state, not a mistake."""
    async with opened(postgres_url) as store:
        ending(store, ended, times=1)
        await store.start()
    async with opened(postgres_url) as store:
        ending(store, ended, times=MANY)
        with pytest.raises(StoreUnavailable):
            await store.start()


@pytest.mark.parametrize("end", [ended, ending_soon])
async def test_a_connection_that_is_lost_while_it_is_set_up_is_made_again(postgres_url, end):
    """One that is lost costs its caller no error; when each is lost, the store is unavailable."""
    async with opened(postgres_url) as store:
        await store.start()
        await store.connection.dispose()
        ending(store, end, times=1)
        assert await store.purge() == 0
        await store.connection.dispose()
        ending(store, end, times=MANY)
        with pytest.raises(StoreUnavailable):
            await store.purge()


async def test_a_mistake_of_ours_is_no_outage(postgres_url):
    """What the driver refuses because it was asked wrongly is not asked again."""
    async with session(postgres_url) as connection:
        with pytest.raises(InterfaceError) as caught:
            await connection.fetch("SELECT $1::int")
    assert fault_of(caught.value) is Fault.OTHER


BREAKS = """
    CREATE FUNCTION pg_temp.broken() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION 'broken'; END $$;
    CREATE TRIGGER broken BEFORE UPDATE ON webhook_dedup_claims
        FOR EACH ROW EXECUTE FUNCTION pg_temp.broken();
"""


@pytest.mark.parametrize("whose", ["ours", "the user's"])
async def test_errors_show_nothing_of_what_was_to_be_kept(postgres_url, whose):
    """No traceback of a database that fails holds what a handler answered, on any engine."""
    theirs = create_async_engine(postgres_url.replace("postgresql", "postgresql+asyncpg", 1))
    store = SqlStore.from_url(postgres_url) if whose == "ours" else SqlStore(theirs)
    await store.start()
    held, answer = await claim(store, a_key()), new_token()
    async with session(postgres_url) as connection:
        await connection.execute(BREAKS)
        with pytest.raises(StoreError, match="broken") as caught:
            await store.complete([Settlement(held, 60.0, answer.encode())])
    await store.aclose()
    await theirs.dispose()
    told = "".join(traceback.format_exception(caught.value))
    assert "webhook_dedup_claims" in told
    assert answer not in told


@pytest.mark.parametrize("key", ["disk is full", "disk I/O error", "is locked"])
async def test_a_refused_row_with_the_words_of_an_outage(postgres_url, key):
    """Psycopg quotes the row that a server refuses, and what that says is no part of the error."""
    url = postgres_url.replace("postgresql", "postgresql+psycopg", 1)
    async with opened(url) as store, session(postgres_url) as connection:
        await store.start()
        await connection.execute(
            "ALTER TABLE webhook_dedup_claims ADD CHECK (key NOT LIKE '% of the words%')"
        )
        with pytest.raises(StoreError, match="violates check") as caught:
            await claim(store, f"{key} of the words")
    assert type(caught.value) is StoreError


async def test_a_full_server_is_an_outage(postgres_url):
    """A server that takes no more connections is a passing state, not a mistake."""
    async with role(postgres_url, "LOGIN CONNECTION LIMIT 0") as crowded, opened(crowded) as store:
        with pytest.raises(StoreUnavailable, match=r"too many connections.* raise the limit"):
            await store.start()


async def test_two_lost_replies_are_the_callers_to_repeat(store, proxy):
    """What the store gives up, its caller repeats, and the answer is right."""
    key, token = a_key(), new_token()
    losses = [proxy.swallow_next_reply(token.encode()) for _ in range(2)]
    with pytest.raises(StoreUnavailable):
        await claim(store, key, token=token)
    assert all(loss.is_set() for loss in losses)
    assert (await claim(store, key, token=token)).fresh
