"""``claim_in``: a claim that commits or rolls back with the work beside it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import pytest
from sqlalchemy import create_engine, func, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from webhook_dedup import AlreadyDone, ConfigError, claim_in
from webhook_dedup.errors import SchemaError
from webhook_dedup.transaction import TABLE, claims_table, create_table, purge_claims
from webhook_dedup.verdict import Ending, judge

from ..asgi.kit import Handler, deliver, mounted, until
from .conftest import metadata, payments

EXPIRE = text(f"UPDATE {TABLE} SET expires_at = 0")


def paid(engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(payments))


def pay(target, key="evt_1", **options):
    claim_in(target, key, **options)
    target.execute(insert(payments).values(event=str(key)))


async def pay_async(target, key="evt_1"):
    await claim_in(target, key)
    await target.execute(insert(payments).values(event=str(key)))


def test_claim_commits_with_the_work(opened, engine):
    """A committed claim is a conflict for the next, which may go on with its transaction."""
    with opened() as target:
        pay(target)
        target.commit()
    with opened() as target:
        with pytest.raises(AlreadyDone, match="evt_1"):
            pay(target)
        pay(target, "evt_2")
        target.commit()
    assert paid(engine) == 2


async def test_claim_commits_with_the_work_async(async_opened, engine):
    """The same, awaited, on async sessions and connections."""
    async with async_opened() as target:
        await pay_async(target)
        await target.commit()
    async with async_opened() as target:
        with pytest.raises(AlreadyDone, match="evt_1"):
            await pay_async(target)
        await pay_async(target, "evt_2")
        await target.commit()
    assert paid(engine) == 2


def test_rollback_frees_the_key(opened, engine):
    """A transaction that is rolled back leaves neither claim nor work."""
    with opened() as target:
        pay(target)
        target.rollback()
        pay(target)
        target.commit()
    assert paid(engine) == 1


async def test_rollback_frees_the_key_async(async_opened, engine):
    """The same, awaited."""
    async with async_opened() as target:
        await pay_async(target)
        await target.rollback()
        await pay_async(target)
        await target.commit()
    assert paid(engine) == 1


def test_savepoint_takes_the_claim_back(opened, engine):
    """A claim made inside a savepoint ends with it; the transaction around it goes on."""
    with opened() as target:
        savepoint = target.begin_nested()
        pay(target)
        savepoint.rollback()
        with target.begin_nested():
            pay(target)
        target.commit()
    assert paid(engine) == 1
    with opened() as target, pytest.raises(AlreadyDone):
        claim_in(target, "evt_1")


def test_own_claim_is_done_within_its_transaction(opened):
    """A second claim of a key in one transaction is a conflict too."""
    with opened() as target:
        claim_in(target, "evt_1")
        with pytest.raises(AlreadyDone):
            claim_in(target, "evt_1")


def test_scoped_sessions(engine):
    """A ``scoped_session`` is a session."""
    session = scoped_session(sessionmaker(engine))
    pay(session)
    session.commit()
    with pytest.raises(AlreadyDone):
        pay(session)
    session.remove()


async def test_async_scoped_sessions(async_engine):
    """An ``async_scoped_session`` is an async session."""
    session = async_scoped_session(async_sessionmaker(async_engine), asyncio.current_task)
    await pay_async(session)
    await session.commit()
    with pytest.raises(AlreadyDone):
        await pay_async(session)
    await session.remove()


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_second_claimer_waits(engine, ending):
    """While the first transaction is open a second one waits, and then gets what it left."""
    outcomes = []
    claiming = threading.Event()

    def second():
        with Session(engine) as session:
            claiming.set()
            try:
                claim_in(session, "evt_1")
                outcomes.append("claimed")
            except AlreadyDone:
                outcomes.append("done")

    with Session(engine) as session:
        claim_in(session, "evt_1")
        thread = threading.Thread(target=second)
        thread.start()
        claiming.wait(30)
        time.sleep(0.2)  # as nothing tells that it waits
        assert outcomes == []
        getattr(session, ending)()
    thread.join(30)
    assert outcomes == (["done"] if ending == "commit" else ["claimed"])


async def test_twenty_at_once(async_engine, engine):
    """Of twenty transactions that claim one key at once, one does the work."""

    async def handle():
        async with AsyncSession(async_engine) as session, session.begin():
            await pay_async(session)

    ends = await asyncio.gather(*(handle() for _ in range(20)), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["AlreadyDone"] * 19 + ["NoneType"]
    assert paid(engine) == 1


def test_expired_claims_are_claimed_anew(opened, engine):
    """A claim past its ``ttl`` is none, and the new one lasts as long as it says."""
    with opened() as target:
        pay(target)
        target.execute(EXPIRE)
        target.commit()
        pay(target, ttl=3600)
        target.commit()
        with pytest.raises(AlreadyDone):
            pay(target)
        left = text(f"SELECT expires_at - claimed_at FROM {TABLE}")
        assert target.execute(left).scalar() == pytest.approx(3600, abs=1)
    assert paid(engine) == 2


def test_purge(opened, engine):
    """Expired claims are deleted, a limited number at a time; live ones stay."""
    with opened() as target:
        for number in range(5):
            claim_in(target, number)
        target.execute(EXPIRE)
        claim_in(target, "live")
        assert purge_claims(target, limit=3) == 3
        assert purge_claims(target) == 2
        assert purge_claims(target) == 0
        with pytest.raises(AlreadyDone):
            claim_in(target, "live")


async def test_purge_async(async_opened):
    """The same, awaited."""
    async with async_opened() as target:
        await claim_in(target, "evt_1")
        await target.execute(EXPIRE)
        assert await purge_claims(target) == 1


def test_any_text_is_a_key(opened):
    """Long keys, quotes, NUL, surrogates: each is claimed once and no other with it."""
    keys = ["'; --", "a\0b", "a\0c", "\ud800", "é" * 3000, "é" * 3001, 7, "{x}", "%s"]
    with opened() as target:
        for key in keys:
            claim_in(target, key)
        for key in keys:
            with pytest.raises(AlreadyDone):
                claim_in(target, key)


@pytest.mark.parametrize("key", ["", " ", None, 1.5])
def test_keys_that_name_nothing(engine, key):
    """A blank key is refused before the database is asked."""
    with engine.connect() as connection, pytest.raises(ConfigError, match="claim_in needs a key"):
        claim_in(connection, key)


def test_absent_table(bare_engine):
    """Without its table the error has the statements that make it, and they do."""
    with bare_engine.connect() as connection, pytest.raises(SchemaError) as caught:
        claim_in(connection, "evt_1")
    _, _, ddl = str(caught.value).partition("by hand:\n")
    with bare_engine.begin() as connection:
        for statement in ddl.split(";\n"):
            connection.execute(text(statement))
    with bare_engine.begin() as connection:
        claim_in(connection, "evt_1")


@pytest.mark.parametrize("key", ["the disk is full", "the door is locked", "no such user"])
def test_absent_table_for_a_key_with_the_words_of_another_error(bare_engine, key):
    """SQLAlchemy shows the key beside the error, and what it says is no part of that."""
    with bare_engine.connect() as connection, pytest.raises(SchemaError, match="is absent"):
        claim_in(connection, key)


def test_other_faults_pass_unchanged(engine):
    """What the database says about anything else reaches the caller as it was said."""
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {TABLE} DROP COLUMN claimed_at"))
    with engine.connect() as connection, pytest.raises(DBAPIError, match="claimed_at"):
        claim_in(connection, "evt_1")


def test_table_in_the_users_metadata(bare_engine):
    """``claims_table`` describes the same table, under any name, for migrations and create_all."""
    from sqlalchemy import MetaData

    mine = MetaData()
    claims_table(mine, "my_claims")
    mine.create_all(bare_engine)
    with bare_engine.begin() as connection:
        create_table(connection)
        claim_in(connection, "evt_1", table="my_claims")
    there = inspect(bare_engine)
    columns = [
        [
            (column["name"], str(column["type"]), column["nullable"])
            for column in there.get_columns(name)
        ]
        for name in ("my_claims", TABLE)
    ]
    assert columns[0] == columns[1]
    assert len(there.get_indexes("my_claims")) == len(there.get_indexes(TABLE)) == 1


async def test_table_is_made_by_many_at_once(bare_engine, async_engine):
    """Processes that start together make one table."""
    with bare_engine.begin() as connection:
        connection.execute(text(f"DROP TABLE {TABLE}"))

    async def start():
        async with async_engine.begin() as connection:
            await create_table(connection)

    await asyncio.gather(*(start() for _ in range(5)))
    async with async_engine.begin() as connection:
        await claim_in(connection, "evt_1")


def test_autocommit_is_refused(engine, database):
    """A connection that commits each statement could not take the claim back."""
    committing = create_engine(database("sync"), isolation_level="AUTOCOMMIT")
    with committing.connect() as connection, pytest.raises(ConfigError, match="AUTOCOMMIT"):
        claim_in(connection, "evt_1")
    committing.dispose()


async def test_autocommit_is_refused_async(engine, database):
    """The same on async connections."""
    committing = create_async_engine(database("async"), isolation_level="AUTOCOMMIT")
    async with committing.connect() as connection:
        with pytest.raises(ConfigError, match="AUTOCOMMIT"):
            await claim_in(connection, "evt_1")
    await committing.dispose()


@pytest.mark.parametrize("reads", [False, True])
def test_sqlite_as_its_driver_begins(tmp_path, reads):
    """Without any set-up of SQLite's transactions the claim is still whole with its work."""
    engine = create_engine(f"sqlite:///{tmp_path}/plain.db")
    metadata.create_all(engine)
    with engine.begin() as connection:
        create_table(connection)
    with engine.connect() as connection:
        if reads:
            connection.execute(select(payments)).all()
        pay(connection)
        connection.rollback()
        pay(connection)
        connection.commit()
        with pytest.raises(AlreadyDone):
            pay(connection)
    assert paid(engine) == 1
    engine.dispose()


CLAIM_FIRST = r"Claim before begin_nested\(\)"


@pytest.fixture
def plain_url(tmp_path):
    """A SQLite database whose transactions are left to its driver."""
    engine = create_engine(f"sqlite:///{tmp_path}/plain.db")
    metadata.create_all(engine)
    with engine.begin() as connection:
        create_table(connection)
    engine.dispose()
    return f":///{tmp_path}/plain.db"


def test_savepoint_that_would_commit_is_refused(plain_url):
    """The driver begins no transaction before a savepoint, whose end would keep the claim."""
    engine = create_engine(f"sqlite{plain_url}")
    with Session(engine) as session, session.begin():
        with session.begin_nested(), pytest.raises(ConfigError, match=CLAIM_FIRST):
            claim_in(session, "evt_1")
        session.rollback()
    with engine.connect() as connection, connection.begin() as outer:
        pay(connection)
        with connection.begin_nested():
            connection.execute(select(payments))
        outer.rollback()
    with engine.begin() as connection:
        pay(connection)
    assert paid(engine) == 1
    engine.dispose()


async def test_savepoint_that_would_commit_is_refused_async(plain_url):
    """The same with the async driver."""
    engine = create_async_engine(f"sqlite+aiosqlite{plain_url}")
    async with AsyncSession(engine) as session, session.begin(), session.begin_nested():
        with pytest.raises(ConfigError, match=CLAIM_FIRST):
            await claim_in(session, "evt_1")
    await engine.dispose()


def test_savepoint_without_transactions_is_refused(plain_url):
    """In a savepoint a connection that commits by itself looks as if it did not."""
    engine = create_engine(f"sqlite{plain_url}", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.begin_nested()
        with pytest.raises(ConfigError, match="AUTOCOMMIT"):
            claim_in(connection, "evt_1")
    engine.dispose()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3 has no such mode")
def test_driver_that_commits_by_itself_is_refused(plain_url):
    """A driver that is told to commit each statement says of no isolation level that it does."""
    engine = create_engine(f"sqlite{plain_url}", connect_args={"autocommit": True})
    with engine.connect() as connection, pytest.raises(ConfigError, match="autocommit=True"):
        claim_in(connection, "evt_1")
    engine.dispose()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3 has no such mode")
def test_savepoint_in_the_drivers_own_transactions(plain_url):
    """A driver that is told to be in a transaction always takes the claim back with it."""
    engine = create_engine(f"sqlite{plain_url}", connect_args={"autocommit": False})
    with engine.connect() as connection:
        with connection.begin_nested():
            pay(connection)
        connection.rollback()
        pay(connection)
        connection.commit()
    assert paid(engine) == 1
    engine.dispose()


@pytest.mark.parametrize(
    "target",
    [
        lambda engine: engine,
        lambda engine: create_async_engine("sqlite+aiosqlite://"),
        sessionmaker,
        lambda engine: "sqlite://",
        lambda engine: engine.raw_connection(),
        lambda engine: None,
    ],
    ids=["engine", "async engine", "sessionmaker", "URL", "driver's connection", "nothing"],
)
@pytest.mark.parametrize("door", [lambda target: claim_in(target, "evt_1"), create_table])
def test_what_has_no_transaction_is_refused(engine, target, door):
    """What is expected is named, with what to write."""
    given = target(engine)
    with pytest.raises(ConfigError, match="needs a session or connection of SQLAlchemy"):
        door(given)
    if hasattr(given, "close"):
        given.close()


async def test_forgotten_await_is_told_by_name(async_opened):
    """Python's warning names what was to be awaited."""
    async with async_opened() as target:
        with pytest.warns(RuntimeWarning, match="'claim_in' was never awaited"):
            claim_in(target, "evt_1")


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_stricter_isolation(postgres_url, level):
    """A claimer that waited gets the database's own serialization failure, and then the answer."""
    url = postgres_url.replace("postgresql", "postgresql+psycopg")
    engine = create_engine(url, isolation_level=level)
    with engine.begin() as connection:
        create_table(connection)
    with engine.connect() as first, engine.connect() as second:
        second.execute(text("SELECT 1"))  # its snapshot is from before the commit below
        claim_in(first, "evt_1")
        first.commit()
        with pytest.raises(DBAPIError) as caught:
            claim_in(second, "evt_1")
        assert caught.value.orig.sqlstate == "40001"
        second.rollback()
        with pytest.raises(AlreadyDone):
            claim_in(second, "evt_1")
    engine.dispose()


def test_judged_done():
    """Out of a handler ``AlreadyDone`` ends the event as done, without a retry."""
    assert judge(AlreadyDone("evt_1")).ending is Ending.DONE


async def test_handler_that_finds_its_work_done(async_engine, engine):
    """A delivery whose effect had committed before a crash ends as done."""

    async def handle(scope, receive, send):
        async with AsyncSession(async_engine) as session, session.begin():
            await pay_async(session)
        raise OSError("died before the event was marked done")

    async with mounted(Handler()) as (app, records):
        app.app = _Lifespanning(handle)
        await deliver(app)
        await until(lambda: "succeeded" in records.kinds)
    assert paid(engine) == 1
    assert records.kinds.count("started") == 2


class _Lifespanning(Handler):
    def __init__(self, handle):
        super().__init__()
        self._handle = handle

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            return await self._handle(scope, receive, send)
        return await super().__call__(scope, receive, send)


def test_front_door_is_lazy():
    """Importing the package loads no SQLAlchemy; asking for ``claim_in`` does."""
    code = (
        "import sys, webhook_dedup\n"
        "assert 'sqlalchemy' not in sys.modules\n"
        "webhook_dedup.claim_in\n"
        "assert 'sqlalchemy' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
