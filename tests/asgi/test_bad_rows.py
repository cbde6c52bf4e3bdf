"""What cannot be read, identified, placed or written: named in the log, kept, passed by."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from functools import partial

import asyncpg
import pytest
import redis
from sqlalchemy import text

from tests.conftest import DISCONNECT_OTHERS
from tests.ports import HOST
from tests.recovery.conftest import store
from tests.recovery.processes import opened
from webhook_dedup import open_store
from webhook_dedup.contracts import Sought
from webhook_dedup.model import Delivery, Item, Key
from webhook_dedup.observe.record import Kind

from .kit import BODY, Handler, deliver, mounted, raw, signed, source, until

__all__ = ["store"]

TABLE = "webhook_dedup_inbox"
LARGE = json.dumps({"id": "large", "pad": "x" * 200_000}).encode()


def an_item(number: int, *, source: str = "shop", body: bytes | None = None) -> Item:
    """A delivery as a process that is gone has left it."""
    event = f"evt_{number}"
    body = json.dumps({"id": event}).encode() if body is None else body
    delivery = Delivery(
        id=f"row-{number}",
        source=source,
        method="POST",
        path="/hooks",
        headers=tuple(raw(signed(body))),
        body=body,
        received_at=1_700_000_000.0 + number,
    )
    key = str(Key(f"webhook:{source}", event))
    return Item(delivery.id, f"token-{number}", delivery, key=key, event_id=event)


async def leave(url: str, *items: Item) -> None:
    async with opened(url) as (_, inbox):
        await inbox.put(items, 0.0)


async def corrupt(url: str, row: str, column: str, value: bytes) -> None:
    """Write over a part of a row behind the back of the inbox."""
    if url.startswith("redis:"):
        with redis.Redis.from_url(url) as client:
            [key] = [key for key in client.scan_iter("*") if key.endswith(row.encode())]
            client.hset(key, column, value)
        return
    async with opened(url) as (claims, _), claims.connection.connect() as connection:
        statement = text(f"UPDATE {TABLE} SET {column} = :value WHERE id = :row")
        await connection.execute(statement, {"value": value, "row": row})


@asynccontextmanager
async def running(url: str, handler: Handler, **options):
    """A middleware over what is at a URL, its records, and its inbox."""
    claims = open_store(url)
    try:
        async with mounted(handler, store=claims, **options) as (app, records):
            yield app, records, app.dedup.inbox
    finally:
        await claims.aclose()


def ran(handler: Handler) -> list[str]:
    return sorted(json.loads(body)["id"] for body in handler.runs)


async def emptied(inbox) -> None:
    for _ in range(600):
        if not await inbox.count(Sought()):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the inbox was not emptied")


@pytest.mark.parametrize(
    "head",
    [b"\x00\xff", b"[]", b'{"v": 99}', b'{"v": 1, "source": 3}'],
    ids=["no text", "no object", "of a later release", "incomplete"],
)
async def test_corrupt_row(store, head, caplog):
    """A row that cannot be read is kept, named by its id; the rest run, and so does a new copy."""
    items = [an_item(number) for number in range(3)]
    await leave(store, *items)
    await corrupt(store, "row-1", "head", head)
    handler = Handler()
    async with running(store, handler) as (app, records, inbox):
        await until(lambda: len(records.of(Kind.SUCCEEDED)) == 2)
        [dead] = await inbox.find(Sought(state="dead"))
        assert (dead.id, dead.delivery.body) == ("row-1", items[1].delivery.body)
        assert dead.history[-1].error
        assert (await deliver(app, items[1].delivery.body)).status == 200
        await emptied(inbox)
    assert ran(handler) == ["evt_0", "evt_1", "evt_2"]
    assert "row-1" in errors(caplog)


def errors(caplog) -> str:
    return "\n".join(r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR)


@pytest.mark.parametrize("body", [b"\xff\xfe", b'{"id": ', b"{}"], ids=["text", "JSON", "no id"])
async def test_body_that_tells_no_event(store, body, caplog):
    """A body that cannot be decoded any more is kept with its bytes, and the rest run."""
    await leave(store, an_item(0), an_item(1, body=body), an_item(2))
    handler = Handler()
    async with running(store, handler) as (_, records, inbox):
        await until(lambda: len(records.of(Kind.SUCCEEDED)) == 2 and records.of(Kind.BURIED))
        [dead] = await inbox.find(Sought())
        assert (dead.id, dead.dead, dead.delivery.body) == ("row-1", True, body)
        assert dead.history[-1].error
    assert ran(handler) == ["evt_0", "evt_2"]
    assert "row-1" in errors(caplog)


async def test_source_that_was_removed(store, caplog):
    """A delivery of a source that is not configured waits, named, until it is again."""
    await leave(store, an_item(0), an_item(1, source="gone"), an_item(2))
    handler = Handler()
    async with running(store, handler) as (_, records, inbox):
        await until(lambda: len(records.of(Kind.SUCCEEDED)) == 2)
        await until(lambda: "row-1" in caplog.text)
        [kept] = await inbox.find(Sought())
        assert (kept.id, kept.dead, kept.attempts) == ("row-1", False, 0)
        await inbox.requeue([kept.id])
    assert ran(handler) == ["evt_0", "evt_2"]
    assert "row-1 is left waiting" in caplog.text
    assert "'gone', which is not configured" in caplog.text
    both = [source(), source(name="gone", path="/gone")]
    async with running(store, handler, sources=both) as (_, _, inbox):
        await emptied(inbox)
    assert ran(handler) == ["evt_0", "evt_1", "evt_2"]


@asynccontextmanager
async def sqlite_pragma(app, on: str, off: str):
    """A setting of the one connection through which claims and items are written."""
    engine = app.dedup.store.connection
    async with engine.connect() as connection:
        await connection.execute(text(f"PRAGMA {on}"))
    yield
    async with engine.connect() as connection:
        await connection.execute(text(f"PRAGMA {off}"))


@asynccontextmanager
async def postgres_read_only(url: str):
    connection = await asyncpg.connect(
        url, server_settings={"default_transaction_read_only": "off"}
    )
    name = await connection.fetchval("SELECT current_database()")

    async def switch(value: str) -> None:
        await connection.execute(
            f"ALTER DATABASE {name} SET default_transaction_read_only = {value}"
        )
        await connection.execute(DISCONNECT_OTHERS)

    try:
        await switch("on")
        yield
        await switch("off")
    finally:
        await connection.close()


@asynccontextmanager
async def redis_told(url: str, on: tuple[str, ...], off: tuple[str, ...]):
    with redis.Redis.from_url(url) as client:
        client.execute_command(*on)
        yield
        client.execute_command(*off)


def read_only(app, url: str):
    """What makes a store and the inbox beside it refuse writes for the length of a block."""
    if url.startswith("sqlite:"):
        return sqlite_pragma(app, "query_only = on", "query_only = off")
    if url.startswith("postgres"):
        return postgres_read_only(url)
    return redis_told(url, ("REPLICAOF", HOST, "1"), ("REPLICAOF", "NO", "ONE"))


def full(app, url: str):
    """The same for want of room. Postgres has no such switch."""
    if url.startswith("sqlite:"):
        return sqlite_pragma(app, "max_page_count = 1", "max_page_count = 1000000")
    return redis_told(url, ("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0"))


async def test_read_only(store, caplog):
    """A database that turns read-only under load refuses deliveries and loses none."""
    await _refuses_for_a_while(store, read_only, caplog)


@pytest.mark.parametrize("store", ["sqlite", "redis"], indirect=True)
async def test_full(store, caplog):
    """A full disk refuses deliveries and loses none."""
    await _refuses_for_a_while(store, full, caplog)


async def _refuses_for_a_while(url: str, trouble, caplog) -> None:
    handler = Handler()
    handler.gate.clear()
    async with running(url, handler) as (app, records, inbox):
        call = asyncio.ensure_future(deliver(app))
        await handler.inside.wait()
        [inside] = await inbox.find(Sought())
        async with trouble(app, url):
            reply = await deliver(app, LARGE)
            assert (reply.status, reply.headers["retry-after"]) == (503, "5")
            assert reply.json()["error"] == "inbox_unavailable"
            handler.gate.set()
            if trouble is read_only:  # a full one may still have room to change a row
                told = partial(records.of, Kind.STORE_ERROR)
                await until(lambda: [r for r in told() if r.delivery_id == inside.id])
                # And of the one that was refused.
                assert {r.event_id for r in told()} == {inside.event_id, "large"}
                assert inside.id in caplog.text
        assert (await call).status == 200
        assert (await deliver(app, LARGE)).status == 200
        await emptied(inbox)
    assert handler.runs == [BODY, LARGE]
