"""URLs: what is taken, what is refused, and what the refusal says."""

import asyncio
import subprocess
import sys
from urllib.parse import quote, urlsplit

import pytest
from sqlalchemy import StaticPool, inspect
from sqlalchemy.ext.asyncio import create_async_engine

from tests.stores.sql_support import opened, role, session
from webhook_dedup.errors import ConfigError, MissingExtra, StoreUnavailable
from webhook_dedup.inbox.sql import SqlInbox
from webhook_dedup.observe.history import History
from webhook_dedup.stores.sql import SqlStore
from webhook_dedup.testing.store_rules.case import a_key, claim

ODD = "p@ss:w/o%rd?#& é"


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("sqlite://", "memory://"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite+aiosqlite://", "memory://"),
        ("sqlite:///file::memory:?cache=shared&uri=true", "memory://"),
        ("sqlite:///file:claims?mode=memory&uri=true", "memory://"),
        ("sqlite:///file:claims?vfs=memdb&uri=true", "memory://"),
        ("sqlite:///file:?uri=true", "memory://"),
        ("sqlite:///file://?uri=true", "memory://"),
        ("sqlite://claims.db", "three slashes"),
        ("sqlite:///claims.db?timeout=soon", "must be a number"),
        ("sqlite:///claims.db?timeout=nan", "must be a number"),
        ("postgresql+psycopg://localhost/claims?timeout=inf", "must be a number"),
        ("postgresql://localhost/claims?statement_cache_size=inf", "must be a number"),
        ("sqlite:///claims.db?detect_types=all", "cannot be used.*'all'"),
        ("sqlite://me@/claims.db", "cannot be used"),
        ("postgresql+psycopg://localhost/claims?port=ten", "cannot be used.*'ten'"),
        ("sqlite:///what?x=1.db", "may not have a [?]"),
        ("sqlite:///claims.db?tiemout=5", "tiemout= in the URL is not known"),
        ("sqlite:///claims.db?mode=ro", "uri=true"),
        ("sqlite:///claims.db?table=a&table=b", "names one table"),
        ("mysql://localhost/claims", "use sqlite:///file.db"),
        ("postgresql+psycopg2://localhost/claims", "asyncpg"),
        ("postgresql://localhost:port/claims", "not a URL"),
        ("postgresql://me:p@ss:w/ord@localhost/claims", "percent-encode"),
        ("postgresql://one:5432,two:5432/claims", r"\?host=one:5432&host=two:5432"),
        ("claims.db", "not a URL"),
        ("", "not a URL"),
    ],
)
def test_what_cannot_work_is_refused_with_the_remedy(url, remedy):
    """A URL that cannot work says what to write instead."""
    with pytest.raises(ConfigError, match=remedy):
        SqlStore.from_url(url)


@pytest.mark.parametrize(
    ("opens", "argument"), [(SqlStore, "blog_claims"), (SqlInbox, "shop_claims")]
)
def test_two_names_for_one_table_are_refused(opens, argument):
    """An argument that says otherwise than the URL is an error that shows both."""
    with pytest.raises(ConfigError, match=rf"{argument}.*shop_.*give one of them"):
        opens.from_url("sqlite:///claims.db?table=shop_claims", table=argument)


@pytest.mark.parametrize("kind", ["sqlite", "asyncpg", "psycopg"])
async def test_a_table_may_be_named_in_the_url(tmp_path, request, kind):
    """What lies beside the claims is named like them, however it is opened by that URL."""
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path}/claims.db?table=shop_claims"
    else:
        place = request.getfixturevalue("postgres_url").partition("://")[2]
        url = f"postgresql+{kind}://{place}?table=shop_claims"
    async with opened(url, table="shop_claims") as store:
        assert store.namespace == "shop_claims"
        await store.start()
        history, inbox = History(url), SqlInbox.from_url(url, table="shop_inbox")
        for beside in (history, inbox):
            await beside.start()
            await beside.aclose()
        async with store.connection.connect() as connection:
            tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    kinds = ("claims", "inbox", "history")
    assert {f"shop_{kind}" for kind in kinds} <= set(tables)
    assert not [name for name in tables if name.startswith("webhook_dedup")]


def test_an_engine_in_memory_is_refused():
    """Nor does the user's own engine keep claims in a connection's memory."""
    with pytest.raises(ConfigError, match="memory://"):
        SqlStore(create_async_engine("sqlite+aiosqlite://"))


@pytest.mark.parametrize("room", [SqlStore, SqlInbox])
@pytest.mark.parametrize("url", ["sqlite+aiosqlite:///claims.db", "postgresql+asyncpg://localhost"])
def test_an_engine_of_one_connection_for_all_is_refused(room, url):
    """What one of them writes another's end would undo, after it was acknowledged."""
    with pytest.raises(ConfigError, match="leave poolclass= out"):
        room(create_async_engine(url, poolclass=StaticPool))


def test_passwords_are_not_told():
    """A refused URL does not appear in the error."""
    with pytest.raises(ConfigError) as caught:
        SqlStore.from_url("mysql://user:hunter2@localhost/claims")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
async def test_every_name_of_postgres_works(postgres_url, scheme):
    """The schemes that providers and SQLAlchemy write lead to the same store."""
    async with opened(postgres_url.replace("postgresql", scheme)) as store:
        assert store.name == "postgres"
        assert (await claim(store, a_key())).fresh


@pytest.mark.parametrize(
    "name", ["a b.db", "ü€.db", "a+b.db", "hash#x.db", "semi;x.db", "quo'te\".db", "a&b=c.db"]
)
async def test_a_file_may_have_nearly_any_name(tmp_path, name):
    """The file that is made has the name that stands in the URL."""
    async with opened(f"sqlite:///{tmp_path}/{name}") as store:
        assert (await claim(store, a_key())).fresh
        assert (tmp_path / name).exists()


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+aiosqlite"])
async def test_every_name_of_sqlite_works(tmp_path, scheme):
    """So do both names of SQLite."""
    async with opened(f"{scheme}:///{tmp_path}/claims.db") as store:
        assert store.name == "sqlite"
        assert (await claim(store, a_key())).fresh


@pytest.mark.parametrize(
    "query",
    [
        "sslmode=disable",
        "sslmode=prefer",
        "ssl=disable",
        "application_name=hooks",
        "timeout=5",
        "connect_timeout=5",
        "connect_timeout=-1",
        "sslmode=prefer&sslrootcert=/nowhere/ca.pem",
        "channel_binding=prefer&gssencmode=disable",
        "prepared_statement_cache_size=0",
        "statement_cache_size=0&sslmode=disable",
    ],
)
async def test_libpqs_parameters_work(postgres_url, query):
    """What libpq and asyncpg understand may stand in the query."""
    async with opened(f"{postgres_url}?{query}") as store:
        assert (await claim(store, a_key())).fresh


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg"])
@pytest.mark.parametrize("absent", ["first", "last"])
async def test_several_hosts_are_tried(postgres_url, driver, absent):
    """Of servers named beside each other, one that is up is found wherever it stands."""
    parts = urlsplit(postgres_url)
    user, _, _ = parts.netloc.rpartition("@")
    hosts = [f"host={parts.hostname}:{parts.port}", "host=127.0.0.1:1"]
    query = "&".join(hosts if absent == "last" else reversed(hosts))
    async with opened(f"{driver}://{user}@{parts.path}?{query}") as store:
        assert (await claim(store, a_key())).fresh


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg"])
async def test_a_silent_host_does_not_hide_the_next(postgres_url, driver):
    """A machine that is gone says nothing, and has only its share of the time to do so."""

    async def keep_silent(reader, writer):
        await reader.read(-1)
        writer.close()

    parts = urlsplit(postgres_url)
    user, _, _ = parts.netloc.rpartition("@")
    gone = await asyncio.start_server(keep_silent, "127.0.0.1", 0)
    port = gone.sockets[0].getsockname()[1]
    query = f"host=127.0.0.1:{port}&host={parts.hostname}:{parts.port}&timeout=6"
    async with opened(f"{driver}://{user}@{parts.path}?{query}") as store:
        assert (await claim(store, a_key())).fresh
    gone.close()


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg"])
async def test_servers_that_are_none_of_those_wanted(postgres_url, driver):
    """While a fail-over is under way none may be what the URL asks for: that is an outage."""
    parts = urlsplit(postgres_url)
    user, _, _ = parts.netloc.rpartition("@")
    host = f"host={parts.hostname}:{parts.port}"
    query = f"{host}&{host}&target_session_attrs=standby"
    async with opened(f"{driver}://{user}@{parts.path}?{query}") as store:
        with pytest.raises(StoreUnavailable, match=r"target_session_attrs|hot standby"):
            await store.start()


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg"])
async def test_a_password_may_be_anything(postgres_url, driver):
    """Special characters are percent-encoded, and arrive as they were, also beside a host."""
    async with role(postgres_url, "LOGIN") as guest, session(postgres_url) as admin:
        parts = urlsplit(guest)
        await admin.execute(f"ALTER ROLE {parts.username} PASSWORD '{ODD}'")
        await admin.execute(f"GRANT CREATE ON SCHEMA public TO {parts.username}")
        query = f"host={parts.hostname}:{parts.port}"
        place = f"{parts.username}:{quote(ODD, safe='')}@{parts.path}?{query}"
        async with opened(f"{driver}://{place}") as store:
            assert (await claim(store, a_key())).fresh
        await admin.execute(f"DROP OWNED BY {parts.username}")


async def test_encryption_that_is_demanded_is_not_skipped(postgres_url):
    """A server without TLS is not spoken to where TLS is required."""
    async with opened(f"{postgres_url}?sslmode=require") as store:
        with pytest.raises(StoreUnavailable, match="SSL"):
            await store.start()


async def test_a_parameter_nobody_knows_is_refused(postgres_url):
    """A misspelt parameter is an error at start-up that names it."""
    async with opened(f"{postgres_url}?sslmoed=require") as store:
        with pytest.raises(ConfigError, match=r"sslmoed.*leave it out of the URL"):
            await store.start()


@pytest.mark.parametrize(
    ("url", "module", "command"),
    [
        ("sqlite:///claims.db", "aiosqlite", r"pip install 'webhook_dedup\[sqlite\]'"),
        ("postgresql://localhost/claims", "asyncpg", r"pip install 'webhook_dedup\[postgres\]'"),
        ("postgresql+psycopg://localhost/claims", "psycopg", r"pip install 'psycopg\[binary\]'"),
    ],
)
def test_a_missing_driver_is_named_with_its_pip_line(monkeypatch, url, module, command):
    """Without the driver the error says what to install."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=command) as caught:
        SqlStore.from_url(url)
    assert isinstance(caught.value, MissingExtra) == (module != "psycopg")


def test_a_missing_sqlalchemy_is_named_with_its_pip_line():
    """Without SQLAlchemy the room does not open, and the error says what to install."""
    code = "import sys; sys.modules['sqlalchemy'] = None; import webhook_dedup.stores.sql"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtra" in run.stderr
    assert "pip install 'webhook_dedup[sqlite,postgres]'" in run.stderr


def test_an_old_sqlite_is_refused(monkeypatch, tmp_path):
    """SQLite without RETURNING is named with the version that has it."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/claims.db")
    monkeypatch.setattr(engine.dialect.dbapi, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(ConfigError, match=r"3\.34\.1 is too old"):
        SqlStore(engine)
