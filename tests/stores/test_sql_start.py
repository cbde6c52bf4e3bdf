"""Start-up: the tables, their version, and what a misconfigured store says."""

import asyncio
import itertools
import sqlite3
import sys
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.stores import sql_support
from tests.stores.sql_support import TABLE, bids, opened, role, session
from webhook_dedup.backends.sql.faults import translated
from webhook_dedup.contracts import Forgetful, Startable, Store
from webhook_dedup.errors import ConfigError, SchemaError, StoreError, StoreUnavailable
from webhook_dedup.inbox.sql import SqlInbox
from webhook_dedup.stores.sql import SqlStore
from webhook_dedup.testing.inbox_rules.case import an_item
from webhook_dedup.testing.store_rules.case import LONG_LEASE, a_key, claim, complete, renew

url = sql_support.url

EXTRA = 3  # https://www.sqlite.org/pragma.html#pragma_synchronous


@pytest.fixture
async def engine(url):
    """The user's own engine."""
    driver = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
    scheme, rest = url.split(":", 1)
    engine = create_async_engine(f"{driver[scheme]}:{rest}")
    yield engine
    await engine.dispose()


async def test_it_has_the_powers_it_names(url):
    """It can be started and can forget."""
    async with opened(url) as store:
        typed: Store = store
        assert isinstance(typed, Startable)
        assert isinstance(typed, Forgetful)
        assert typed.name in {"sqlite", "postgres"}


async def test_stores_that_start_at_once_share_the_tables(url):
    """Several stores started together on an empty database all come up."""
    stores = [SqlStore.from_url(url) for _ in range(5)]
    await asyncio.gather(*(store.start() for store in stores))
    key = a_key()
    answers = [await claim(store, key) for store in stores]
    assert [answer.fresh for answer in answers] == [True, False, False, False, False]
    for store in stores:
        await store.aclose()


async def test_the_first_calls_start_the_store_together(url):
    """Calls on a store nobody started make the tables once."""
    async with opened(url) as store:
        answers = await asyncio.gather(*(store.claim(bids(3)) for _ in range(10)))
        assert all(answer.fresh for answer in itertools.chain(*answers))


async def test_absent_tables_are_named_with_the_remedy(url):
    """Without create, absent tables are an error whose statements make them."""
    async with opened(url, create=False) as store:
        with pytest.raises(SchemaError, match=f"{TABLE} is absent; pass create=True") as caught:
            await store.start()
        _, _, statements = str(caught.value).partition("\n")
        async with store.connection.connect() as connection:
            for statement in statements.split(";\n"):
                await connection.exec_driver_sql(statement.rstrip(";"))
        await store.start()
        assert (await claim(store, a_key())).fresh


async def test_tables_that_are_there_need_no_create(url):
    """A store without create uses what another has made."""
    async with opened(url) as maker, opened(url, create=False) as user:
        await maker.start()
        assert (await claim(user, a_key())).fresh


async def test_another_version_is_refused(url):
    """Tables of another release are not touched."""
    async with opened(url) as maker:
        await maker.start()
        async with maker.connection.connect() as connection:
            await connection.execute(text(f"UPDATE {TABLE}_version SET version = 99"))
        async with opened(url) as store:
            with pytest.raises(SchemaError, match="has version 99, this release needs 1"):
                await store.start()


async def test_a_table_of_another_name_is_another_store(url):
    """Stores on two tables do not see each other's claims."""
    key = a_key()
    async with opened(url) as one, opened(url, table="other claims") as other:
        assert (await claim(one, key)).fresh
        assert (await claim(other, key)).fresh


async def test_a_table_may_lie_in_a_schema(postgres_url):
    """The database schema stands before a dot."""
    async with session(postgres_url) as connection:
        await connection.execute("CREATE SCHEMA hooks")
        async with opened(postgres_url, table="hooks.claims") as store:
            assert (await claim(store, a_key())).fresh
        assert await connection.fetchval("SELECT count(*) FROM hooks.claims") == 1


async def test_a_table_that_goes_away_is_a_schema_error(url):
    """A table dropped under a running store is named."""
    async with opened(url) as store:
        await store.start()
        async with store.connection.connect() as connection:
            await connection.execute(text(f"DROP TABLE {TABLE}"))
        with pytest.raises(SchemaError, match=TABLE):
            await claim(store, a_key())


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg"])
@pytest.mark.parametrize("refused", ["NOLOGIN", "LOGIN CONNECTION LIMIT 0", "options"])
async def test_a_login_that_is_refused_for_good_is_named(postgres_url, driver, refused):
    """A person must mend what the server does not allow; a limit that is reached passes."""
    error = StoreUnavailable if "LIMIT" in refused else ConfigError
    options = "LOGIN" if refused == "options" else refused
    async with role(postgres_url, options) as guest:
        url = guest.replace("postgresql", driver, 1)
        url += "?options=-cwork_mem%3Dfish" if refused == "options" else ""
        async with opened(url) as store:
            with pytest.raises(error):
                await store.start()


async def test_an_engine_of_the_users_stays_open(engine):
    """Closing the store closes neither the user's engine nor its connections."""
    store = SqlStore(engine)
    assert (await claim(store, a_key())).fresh
    pool = engine.pool
    await store.aclose()
    assert engine.pool is pool
    async with engine.connect() as connection:
        assert await connection.scalar(text(f"SELECT count(*) FROM {TABLE}")) == 1


@pytest.mark.parametrize("room", [SqlStore, SqlInbox])
async def test_an_engine_that_begins_transactions_is_refused(tmp_path, room):
    """Nobody would commit them: what was granted and acknowledged would not be in the file."""
    url = f"{tmp_path}/claims.db"
    async with opened(f"sqlite:///{url}") as store:
        await store.start()
        await SqlInbox.beside(store).start()
    engine = create_async_engine(f"sqlite+aiosqlite:///{url}")

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection):
        connection.exec_driver_sql("BEGIN")

    with pytest.raises(ConfigError, match="begins a transaction by itself"):
        await room(engine).start()
    await engine.dispose()


async def test_a_closed_store_leaves_no_task(url):
    """Closing ends the background sweeps."""
    async with opened(url) as store:
        await store.start()
        before = asyncio.all_tasks()
    assert asyncio.all_tasks() < before


def test_a_missing_directory_is_named(tmp_path):
    """A file in a directory that is not there cannot be opened."""
    with pytest.raises(ConfigError, match="absent does not exist: make it"):
        SqlStore.from_url(f"sqlite:///{tmp_path}/absent/claims.db")


def test_a_directory_that_may_not_be_written_is_named():
    """SQLite's own words for it are followed by what to change."""
    error = translated(sqlite3.OperationalError("unable to open database file"), "sqlite")
    assert "must exist and be writable" in str(error)


async def test_a_file_that_is_no_database_is_named(tmp_path):
    """A file of another kind is left alone."""
    (tmp_path / "notes.txt").write_text("no database at all\n" * 100)
    async with opened(f"sqlite:///{tmp_path}/notes.txt") as store:
        with pytest.raises(ConfigError, match="not a database; name another file"):
            await store.start()


async def test_a_read_only_file_is_named(tmp_path):
    """A file that may only be read is an error that says what must be writable."""
    path = tmp_path / "claims.db"
    async with opened(f"sqlite:///{path}") as store:
        await store.start()
    async with opened(f"sqlite:///file:{path}?mode=ro&uri=true") as store:
        with pytest.raises(StoreError, match="must be writable"):
            await claim(store, a_key())


async def test_a_full_disk_is_named(tmp_path):
    """A disk without room is an outage, and the error says that a person must see to it."""
    path = tmp_path / "claims.db"
    async with opened(f"sqlite:///{path}") as store:
        await store.start()
        async with store.connection.connect() as connection:
            await connection.exec_driver_sql("PRAGMA max_page_count = 1")
        with pytest.raises(StoreUnavailable, match="make room"):
            await store.claim(bids(1_000))


async def test_a_disk_without_room_at_the_start_is_named(tmp_path):
    """An app that starts meanwhile is not told that it is configured wrongly."""
    url = f"sqlite:///{tmp_path}/claims.db"
    for _ in range(2):  # a file that is to be made, and one that is there and cannot be mapped
        assert "StoreUnavailable" in (said := await started_without_room(url))
        assert "room on the disk" in said
        async with opened(url) as store:
            await store.start()


async def started_without_room(url):
    """Start a store in a process that may not make a file longer, and return how that ended."""
    start = (
        "import asyncio, resource, sys\n"
        "from webhook_dedup import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "asyncio.run(store.start())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-B", "-c", start, url, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    return said.decode().splitlines()[-1]


async def test_a_read_only_server_is_named(postgres_url):
    """A replica takes no claims, and the error says where to go."""
    async with opened(postgres_url) as store:
        await store.start()
    async with opened(f"{postgres_url}?default_transaction_read_only=on") as store:
        with pytest.raises(StoreError, match="primary"):
            await claim(store, a_key())


async def test_a_missing_database_is_named(postgres_url):
    """A database that does not exist is a mistake in the configuration."""
    async with opened(f"{postgres_url}_absent") as store:
        with pytest.raises(ConfigError, match="create the database first"):
            await store.start()


@pytest.mark.parametrize("room", [SqlStore, SqlInbox])
async def test_the_documented_grants_are_enough(postgres_url, room):
    """A user who may make nothing works on tables that another has made."""
    made = room.from_url(postgres_url)
    await made.start()
    await made.aclose()
    async with role(postgres_url, "LOGIN") as guest, session(postgres_url) as admin:
        name = urlsplit(guest).username
        await admin.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        for table in ("claims", "inbox"):
            if await admin.fetchval(f"SELECT to_regclass('webhook_dedup_{table}')"):
                rights = f"SELECT, INSERT, UPDATE, DELETE ON webhook_dedup_{table} TO {name}"
                await admin.execute(f"GRANT {rights}")
                await admin.execute(f"GRANT SELECT ON webhook_dedup_{table}_version TO {name}")
        given = room.from_url(guest, create=False)
        await given.start()
        if room is SqlStore:
            held = await claim(given, a_key())
            assert await renew(given, held)
            assert await complete(given, held)
        else:
            item = an_item()
            await given.put([item], 0.0)
            taken = await given.take(1, LONG_LEASE)
            assert await given.begin(taken) == [True]
            await given.done(taken)
        await given.aclose()
        await admin.execute(f"DROP OWNED BY {name}")


@pytest.mark.parametrize("table", ["nowhere.claims", "claims"])
async def test_a_schema_that_is_not_there_is_named(postgres_url, table):
    """Neither the table's own nor that of the search path is made; the error says what to do."""
    async with opened(f"{postgres_url}?search_path=nowhere", table=table) as store:
        with pytest.raises(ConfigError, match="create the schema first"):
            await store.start()


@asynccontextmanager
async def database_in(postgres_url, encoding):
    """The URL of another database of the same server."""
    server, _, name = postgres_url.rpartition("/")
    async with session(postgres_url) as admin:
        await admin.execute(
            f"CREATE DATABASE {name}_other ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
        )
        yield f"{server}/{name}_other"
        await admin.execute(f"DROP DATABASE {name}_other WITH (FORCE)")


@pytest.mark.parametrize("room", [SqlStore, SqlInbox])
async def test_a_database_that_cannot_keep_every_text_is_refused(postgres_url, room):
    """Or else a delivery whose id it lacks characters for would be refused as long as it comes."""
    async with database_in(postgres_url, "LATIN1") as latin:
        opened = room.from_url(latin)
        with pytest.raises(ConfigError, match=r"is in LATIN1.*ENCODING 'UTF8'"):
            await opened.start()
        await opened.aclose()


async def test_a_database_that_looks_at_no_text_keeps_it(postgres_url):
    """SQL_ASCII takes whatever comes; psycopg must be told what it is."""
    async with database_in(postgres_url, "SQL_ASCII") as plain:
        psycopg = plain.replace("postgresql:", "postgresql+psycopg:")
        for url in (plain, f"{psycopg}?client_encoding=utf8"):
            async with opened(url) as store:
                assert (await claim(store, f"{a_key()} €")).fresh
        async with opened(psycopg) as store:
            with pytest.raises(ConfigError, match="client_encoding=utf8"):
                await store.start()


async def test_a_user_who_may_not_create_is_told(postgres_url):
    """Without the right to make tables the error says what to grant."""
    async with role(postgres_url, "LOGIN") as guest, session(postgres_url) as admin:
        await admin.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        async with opened(guest) as store:
            with pytest.raises(ConfigError, match="create=False"):
                await store.start()


async def test_commits_are_durable(tmp_path):
    """The store's own SQLite files are in WAL mode and synchronised at each commit."""
    async with opened(f"sqlite:///{tmp_path}/claims.db") as store:
        await store.start()
        async with store.connection.connect() as connection:
            assert (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar() == "wal"
            assert (await connection.exec_driver_sql("PRAGMA synchronous")).scalar() == 2


async def test_commits_are_durable_without_a_wal(tmp_path):
    """Where the file system refuses one, the end of each journal goes to the disk, too."""
    async with opened(f"sqlite:///file:{tmp_path}/claims.db?vfs=unix-dotfile&uri=true") as store:
        assert (await claim(store, a_key())).fresh
        async with store.connection.connect() as connection:
            assert await scalar(connection, "journal_mode") == "delete"
            assert await scalar(connection, "synchronous") == EXTRA


async def scalar(connection, pragma):
    return (await connection.exec_driver_sql(f"PRAGMA {pragma}")).scalar()


async def test_claims_outlive_the_store(url):
    """What one store has claimed, the next one on the same database finds."""
    key = a_key()
    async with opened(url) as store:
        await claim(store, key)
    async with opened(url) as store:
        assert not (await claim(store, key)).fresh


def test_the_key_is_readable_in_the_table(tmp_path):
    """People who look into the table find the key as text beside its digest."""
    path = tmp_path / "claims.db"

    async def claim_one():
        async with opened(f"sqlite:///{path}") as store:
            await store.claim(bids(1))

    asyncio.run(claim_one())
    connection = sqlite3.connect(path)
    ((key, length),) = connection.execute(f"SELECT key, length(digest) FROM {TABLE}")
    connection.close()
    assert key.endswith(":event")
    assert length == 16
