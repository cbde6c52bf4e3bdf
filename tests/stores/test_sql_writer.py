"""What waits for SQLite's one writer is written together."""

import asyncio
import sqlite3
from contextlib import asynccontextmanager

import pytest

from tests.stores.sql_support import bids, driver_of, opened, outcomes, rows_of
from webhook_dedup.backends.sql.layout import laid_out
from webhook_dedup.errors import StoreError, StoreUnavailable
from webhook_dedup.inbox.sql import SqlInbox
from webhook_dedup.model import Bid, Outcome, Settlement, new_token
from webhook_dedup.testing.inbox_rules.case import an_item
from webhook_dedup.testing.store_rules.case import LONG_LEASE, LONG_TTL

FEW = 20


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/claims.db"


@pytest.fixture
async def store(url):
    async with opened(url) as store:
        await store.claim(bids(1))
        yield store


@asynccontextmanager
async def transactions_of(store):
    """Collect the statements by which a store's file is told of transactions."""
    told: list[str] = []

    def note(statement):
        if statement.split()[0] in {"BEGIN", "COMMIT", "ROLLBACK"}:
            told.append(statement)

    driver = await driver_of(store)
    await driver.set_trace_callback(note)
    yield told
    await driver.set_trace_callback(None)


async def test_verbs_that_wait_at_the_same_time_share_a_commit(store):
    """A store and the inbox beside it write what both are asked in one transaction."""
    inbox = SqlInbox.beside(store)
    await inbox.start()
    (held,) = await store.claim(bids(1))
    item = an_item()
    async with transactions_of(store) as told:
        claims, done, _ = await asyncio.gather(
            store.claim(bids(3)),
            store.complete([Settlement(held, LONG_TTL)]),
            inbox.put([item], LONG_LEASE),
        )
    assert told == ["BEGIN IMMEDIATE", "COMMIT"]
    assert outcomes(claims) == {Outcome.FRESH}
    assert done == [True]
    assert await inbox.get(item.id) == item


async def test_a_statement_that_fails_takes_nobody_with_it(store):
    """Its transaction is taken back; those who were in it are answered, and it alone fails."""
    inbox = SqlInbox.beside(store)
    await inbox.start()
    bad = Bid("a key", object(), LONG_LEASE)  # which the driver cannot write
    batch = bids(3)
    async with transactions_of(store) as told:
        claims, error, _ = await asyncio.gather(
            store.claim(batch),
            store.claim([bad]),
            inbox.put([an_item()], LONG_LEASE),
            return_exceptions=True,
        )
    assert told == ["BEGIN IMMEDIATE", "ROLLBACK"]
    assert isinstance(error, StoreError)
    assert [(claim.key, claim.outcome) for claim in claims] == [
        (bid.key, Outcome.FRESH) for bid in batch
    ]
    assert await rows_of(store) == 1 + len(batch)


async def test_a_commit_that_fails_tells_nobody_that_it_succeeded(store):
    """What could not be committed is asked again, and is there before anybody hears of it."""
    driver = await driver_of(store)
    whole = driver._connection
    driver._connection = full = _Uncommitting(whole)
    first, second = await asyncio.gather(store.claim(bids(2)), store.claim(bids(2)))
    assert full.failed
    driver._connection = whole
    assert outcomes(first) | outcomes(second) == {Outcome.FRESH}
    assert await rows_of(store) == 5


class _Uncommitting:
    """A connection of SQLite whose disk is full at every commit of its own."""

    failed = False

    def __init__(self, connection):
        self._connection = connection

    def execute(self, statement, *parameters):
        if statement == "COMMIT":
            self.failed = True
            raise sqlite3.OperationalError("database or disk is full")
        return self._connection.execute(statement, *parameters)

    def __getattr__(self, name):
        return getattr(self._connection, name)


async def test_a_cancelled_caller_does_not_cancel_those_it_waits_with(store):
    """What it asked may be written or not; the others get their own answers."""
    batch = bids(3)
    for _ in range(20):
        cancelled = asyncio.ensure_future(store.claim(bids(2)))
        asked = asyncio.ensure_future(store.claim(batch))
        await asyncio.sleep(0)
        cancelled.cancel()
        claims = await asked
        assert [claim.key for claim in claims] == [bid.key for bid in batch]
        assert outcomes(claims) == {Outcome.FRESH}
        await store.release(claims)


async def test_a_writer_cancelled_before_it_began_leaves_nobody_waiting(store):
    """Those who waited for it are told, and the next caller has another."""
    asked = asyncio.ensure_future(store.claim(bids(2)))
    await asyncio.sleep(0)
    for task in asyncio.all_tasks() - {asyncio.current_task(), asked}:
        task.cancel()
    with pytest.raises(StoreUnavailable, match="cut off"):
        await asked
    assert outcomes(await store.claim(bids(2))) == {Outcome.FRESH}


async def test_batches_of_every_size_are_answered_in_order(store):
    """Fresh and known keys, and what was completed, are told apart whatever their number."""
    for size in range(1, 70):
        batch = bids(size)
        claims = await store.claim(batch)
        assert [claim.key for claim in claims] == [bid.key for bid in batch]
        assert outcomes(claims) == {Outcome.FRESH}
        known = [Bid(bid.key, new_token(), LONG_LEASE) for bid in batch]
        assert outcomes(await store.claim(known)) == {Outcome.IN_FLIGHT}
        half = len(claims) // 2
        assert await store.release(claims[:half]) == [True] * half
        settlements = [Settlement(claim, LONG_TTL) for claim in claims[half:]]
        assert await store.complete(settlements) == [True] * (size - half)
        again = await store.claim(known)
        assert outcomes(again[:half]) <= {Outcome.FRESH}
        assert outcomes(again[half:]) == {Outcome.DUPLICATE}


def test_batches_of_every_size_share_a_few_statements(store):
    """To compile a statement costs more than its rows, and a connection keeps only so many."""
    claim = store._database._connections._driver._texts.of(store._statements.claim)
    read = store._database._connections._driver._texts.of(store._statements.read)
    columns = store._database.dialect.columns
    inserts = {
        laid_out(*claim, columns({name: [None] * size for name in claim[1]}))[0]
        for size in range(1, 500)
    }
    reads = {
        laid_out(*read, {"digests": [bytes(16)] * size, "limit": 1})[0] for size in range(1, 500)
    }
    assert max(len(inserts), len(reads)) <= FEW
