"""Lost replies, outages, full disks and wrong tables: nothing is lost and the error says what."""

import asyncio
import logging
import sqlite3
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from tests.inbox.sql_support import TABLE, meddle, opened
from tests.proxy import Proxy
from tests.stores import sql_support
from tests.stores.sql_support import impatient
from webhook_dedup.contracts import OperableInbox, Sought, Startable
from webhook_dedup.errors import ConfigError, SchemaError, StoreError, StoreUnavailable
from webhook_dedup.inbox.sql import SqlInbox
from webhook_dedup.testing.inbox_rules.case import (
    a_taken,
    an_attempt,
    an_item,
    begin,
    known,
    put,
    renew,
    take_one,
)
from webhook_dedup.testing.timed import LONG_LEASE

url = sql_support.url


@pytest.fixture
async def proxy(postgres_url):
    async with Proxy.to(postgres_url) as proxy:
        yield proxy


@pytest.fixture
async def inbox(proxy, postgres_url):
    async with opened(proxy.through(postgres_url), timeout=5.0) as inbox:
        await inbox.start()
        yield inbox


async def test_a_put_whose_reply_is_lost_is_recorded_once(inbox, proxy):
    """The inbox puts again by itself, and its token holds."""
    item = an_item(body=b"exact \0 bytes")
    lost = proxy.swallow_next_reply(item.token.encode())
    await inbox.put([item], LONG_LEASE)
    assert lost.is_set()
    assert await inbox.count(Sought()) == 1
    assert (await known(inbox, item)).delivery == item.delivery
    assert await renew(inbox, item, LONG_LEASE)


async def test_a_begin_whose_reply_is_lost_counts_once(inbox, proxy):
    """The repetition of a begin finds the attempt counted."""
    item = await a_taken(inbox, LONG_LEASE)
    lost = proxy.swallow_next_reply(item.token.encode())
    assert await begin(inbox, item)
    assert lost.is_set()
    assert (await known(inbox, item)).attempts == 1


@pytest.mark.parametrize("verb", ["retry", "bury"])
async def test_a_failure_whose_reply_is_lost_is_noted_once(inbox, proxy, verb):
    """The repetition of a retry or a burial is confirmed and adds nothing."""
    item = await a_taken(inbox, LONG_LEASE)
    lost = proxy.swallow_next_reply(b"TimeoutError")
    attempt = an_attempt("TimeoutError: once")
    asked = (0.0, attempt) if verb == "retry" else (attempt,)
    assert await getattr(inbox, verb)(item, *asked)
    assert lost.is_set()
    assert (await known(inbox, item)).history == (attempt,)


async def test_a_shelving_whose_reply_is_lost_counts_right(inbox, proxy):
    """What a person set aside is counted although the first answer was lost."""
    items = [await put(inbox, an_item(), LONG_LEASE) for _ in range(2)]
    lost = proxy.swallow_next_reply(b"no longer wanted")
    assert await inbox.shelve([item.id for item in items], "no longer wanted") == 2
    assert lost.is_set()
    assert len((await known(inbox, items[0])).history) == 1


async def test_what_a_lost_take_held_comes_due_again(inbox, proxy):
    """Items that a take handed into the void are handed over after their lease."""
    lease = 1.0  # it lasts until the inbox has connected and asked again
    assert not await inbox.take(10, lease)
    item = await put(inbox, an_item(), 0.0)
    lost = proxy.swallow_next_reply()
    assert not await inbox.take(10, lease)
    assert lost.is_set()
    await asyncio.sleep(await inbox.next_due())
    assert (await take_one(inbox, LONG_LEASE)).id == item.id


async def test_a_server_that_does_not_answer_is_an_outage(proxy, postgres_url):
    """Behind a network that swallows everything, calls end with StoreUnavailable."""
    async with opened(proxy.through(postgres_url)) as inbox:
        item = await put(inbox, an_item(), LONG_LEASE)
        proxy.black_hole()
        with impatient(inbox), pytest.raises(StoreUnavailable, match="no answer within"):
            await inbox.put([an_item()], LONG_LEASE)
        proxy.restore()
        assert await begin(inbox, item)


async def test_a_stopped_server_is_an_outage_and_ends(postgres_server):
    """While the server is away the inbox is unavailable; a crash of it loses nothing."""
    async with opened(postgres_server.url) as inbox:
        items = [await put(inbox, an_item(), 0.0)]
        for stop in (postgres_server.stop, postgres_server.kill):
            await asyncio.to_thread(stop)
            for call in (inbox.put([an_item()], 0.0), inbox.take(1, 0.0), inbox.next_due()):
                with pytest.raises(StoreUnavailable):
                    await call
            await asyncio.to_thread(postgres_server.start)
            items.append(await put(inbox, an_item(), 0.0))
        taken = await inbox.take(10, LONG_LEASE)
        assert [each.delivery for each in taken] == [item.delivery for item in items]


async def test_it_has_the_powers_it_names(url):
    """It can be started and operated, and is durable."""
    async with opened(url) as inbox:
        typed: OperableInbox = inbox
        assert isinstance(typed, Startable)
        await asyncio.gather(*(inbox.start() for _ in range(3)))
        assert typed.name in {"sqlite", "postgres"}
        assert typed.durable


async def test_inboxes_that_start_at_once_share_the_tables(url):
    """Several inboxes whose first calls come together on an empty database all come up."""
    inboxes = [SqlInbox.from_url(url) for _ in range(5)]
    await asyncio.gather(*(put(inbox, an_item(), 0.0) for inbox in inboxes))
    assert len(await inboxes[0].take(10, LONG_LEASE)) == 5
    for inbox in inboxes:
        await inbox.aclose()


async def make_by_hand(inbox):
    """Run the statements that an inbox names which may not make its tables."""
    with pytest.raises(SchemaError, match=f"{TABLE} is absent; pass create=True") as caught:
        await inbox.start()
    _, _, statements = str(caught.value).partition("\n")
    for statement in statements.split(";\n"):
        await meddle(inbox, statement.rstrip(";"))


async def test_absent_tables_are_named_with_the_remedy(url):
    """Without create, absent tables are an error whose statements make them."""
    async with opened(url, create=False) as inbox:
        await make_by_hand(inbox)
        await put(inbox, an_item(), 0.0)
        assert await take_one(inbox, LONG_LEASE)


@pytest.mark.parametrize("create", [True, False])
async def test_pages_have_room_for_the_next_version_of_a_row(postgres_url, create):
    """Whoever makes the table, with any SQLAlchemy: an attempt is counted without an index."""
    async with opened(postgres_url, create=create) as inbox:
        if not create:
            await make_by_hand(inbox)
        await inbox.start()
    async with sql_support.session(postgres_url) as connection:
        asked = "SELECT reloptions FROM pg_class WHERE oid = $1::text::regclass"
        assert await connection.fetchval(asked, TABLE) == ["fillfactor=50"]


async def test_another_version_is_refused(url):
    """Tables of another release are not touched."""
    async with opened(url) as maker:
        await maker.start()
        await meddle(maker, f"UPDATE {TABLE}_version SET version = 99")
        async with opened(url) as inbox:
            with pytest.raises(SchemaError, match="has version 99, this release needs 2"):
                await inbox.put([an_item()], 0.0)


async def test_a_table_that_was_dropped_is_made_anew_with_its_version(url):
    """The version beside it is that of the table that is there now, not of the one before."""
    async with opened(url) as maker:
        await maker.start()
        await meddle(maker, f"UPDATE {TABLE}_version SET version = 1")
        await meddle(maker, f"DROP TABLE {TABLE}")
        async with opened(url) as inbox:
            await inbox.put([an_item()], 0.0)
            assert (await meddle(inbox, f"SELECT version FROM {TABLE}_version")).all() == [(2,)]


async def test_a_table_may_lie_in_a_schema(postgres_url):
    """The database schema stands before a dot."""
    async with sql_support.session(postgres_url) as connection:
        await connection.execute("CREATE SCHEMA hooks")
        async with opened(postgres_url, table="hooks.inbox") as inbox:
            await put(inbox, an_item(), 0.0)
        assert await connection.fetchval("SELECT count(*) FROM hooks.inbox") == 1


async def test_a_full_disk_is_named_and_loses_nothing(tmp_path):
    """Without room nothing is put, what is there is worked off, and that makes room."""
    async with opened(f"sqlite:///{tmp_path}/inbox.db") as inbox:
        item = an_item(body=bytes(200_000))
        await inbox.put([item], 0.0)
        await meddle(inbox, "PRAGMA max_page_count = 1")
        refused = an_item(body=bytes(200_000))
        with pytest.raises(StoreUnavailable, match="make room"):
            await inbox.put([refused], 0.0)
        taken = await take_one(inbox, LONG_LEASE)
        assert taken.delivery == item.delivery
        assert await begin(inbox, taken)
        await inbox.done([taken])
        await inbox.put([refused], 0.0)
        assert await inbox.count(Sought()) == 1


async def test_a_full_disk_is_an_outage(tmp_path):
    """The note of a failure is to be repeated: without it the run looks like one that crashed."""
    async with opened(f"sqlite:///{tmp_path}/inbox.db") as inbox:
        item = await a_taken(inbox, LONG_LEASE)
        assert await begin(inbox, item)
        await meddle(inbox, "PRAGMA max_page_count = 1")
        failed = an_attempt("failed" * 10_000)
        with pytest.raises(StoreUnavailable, match="make room"):
            await inbox.retry(item, 0.0, failed)
        await meddle(inbox, "PRAGMA max_page_count = 1000")
        assert await inbox.retry(item, 0.0, failed)
        assert (await take_one(inbox, LONG_LEASE)).cut_off == 0


@asynccontextmanager
async def refusing(postgres_url, returns, trigger, state):
    """A server that has no room for what sets off a trigger, and says so in its own words."""
    async with sql_support.session(postgres_url) as admin:
        await admin.execute(
            f"CREATE FUNCTION refuse() RETURNS {returns} LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '{state}'; END $$"
        )
        await admin.execute(f"CREATE {trigger} EXECUTE FUNCTION refuse()")
        try:
            yield
        finally:
            await admin.execute("DROP FUNCTION refuse CASCADE")


@pytest.mark.parametrize("state", ["disk_full", "out_of_memory"])
async def test_a_server_without_room_is_an_outage(postgres_url, state):
    """The note of a failure is to be repeated: without it the run looks like one that crashed."""
    async with opened(postgres_url) as inbox:
        item = await a_taken(inbox, LONG_LEASE)
        assert await begin(inbox, item)
        trigger = f"TRIGGER refuse BEFORE INSERT OR UPDATE ON {TABLE}"
        async with refusing(postgres_url, "trigger", trigger, state):
            with pytest.raises(StoreUnavailable, match="no room"):
                await inbox.retry(item, 0.0, an_attempt("failed"))
            with pytest.raises(StoreUnavailable, match="no room"):
                await inbox.put([an_item()], 0.0)
        assert await inbox.retry(item, 0.0, an_attempt("failed"))
        assert (await take_one(inbox, LONG_LEASE)).cut_off == 0


async def test_a_server_without_room_for_tables_is_an_outage(postgres_url):
    """An app that starts meanwhile is not told that it is configured wrongly."""
    trigger = "EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE TABLE')"
    async with opened(postgres_url) as inbox:
        async with refusing(postgres_url, "event_trigger", trigger, "disk_full"):
            with pytest.raises(StoreUnavailable, match="the server's disk is full"):
                await inbox.start()
        await inbox.start()


async def test_a_read_only_file_is_named(tmp_path):
    """A file that may only be read is an error that says what must be writable."""
    path = tmp_path / "inbox.db"
    async with opened(f"sqlite:///{path}") as inbox:
        await put(inbox, an_item(), 0.0)
        async with opened(f"sqlite:///file:{path}?mode=ro&uri=true") as reader:
            for call in (reader.put([an_item()], 0.0), reader.take(1, 0.0)):
                with pytest.raises(StoreError, match="must be writable"):
                    await call
            assert await reader.count(Sought()) == 1
        assert len(await inbox.take(10, LONG_LEASE)) == 1


async def test_a_read_only_server_is_named(postgres_url):
    """A replica takes no deliveries, and the error says where to go."""
    async with opened(postgres_url) as inbox:
        await inbox.start()
    async with opened(f"{postgres_url}?default_transaction_read_only=on") as inbox:
        with pytest.raises(StoreError, match="primary"):
            await inbox.put([an_item()], 0.0)


async def test_a_locked_file_is_an_outage(tmp_path):
    """A file that another program keeps locked makes the inbox unavailable for that time."""
    path = tmp_path / "inbox.db"
    async with opened(f"sqlite:///{path}?timeout=0.1") as inbox:
        await inbox.start()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await inbox.put([an_item()], 0.0)
        other.execute("ROLLBACK")
        other.close()
        await put(inbox, an_item(), 0.0)


async def test_commits_that_are_put_off_are_not_durable(postgres_url, caplog):
    """A database that answers before it has written is named with what to set."""
    async with opened(f"{postgres_url}?synchronous_commit=off") as inbox:
        with caplog.at_level(logging.WARNING, "webhook_dedup"):
            await inbox.start()
        assert not inbox.durable
    assert "synchronous_commit = on" in caplog.text


async def test_an_engine_in_memory_is_refused():
    """A connection's memory is no place for deliveries."""
    with pytest.raises(ConfigError, match="memory://"):
        SqlInbox(create_async_engine("sqlite+aiosqlite://"))


async def test_a_file_in_another_encoding_is_refused(tmp_path):
    """A file whose text is not UTF-8 is left alone."""
    path = tmp_path / "inbox.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA encoding = 'UTF-16'")
        connection.execute("CREATE TABLE mine (id)")
    connection.close()
    async with opened(f"sqlite:///{path}") as inbox:
        with pytest.raises(ConfigError, match="UTF-16"):
            await inbox.start()


async def test_inbox_beside_a_store_that_makes_no_tables(tmp_path):
    """A store with create=False has an inbox that makes none either, and prints how to."""
    url = f"sqlite:///{tmp_path}/claims.db"
    async with sql_support.opened(url, create=False) as store:
        inbox = SqlInbox.beside(store)
        with pytest.raises(SchemaError, match="CREATE TABLE webhook_dedup_inbox"):
            await inbox.start()
