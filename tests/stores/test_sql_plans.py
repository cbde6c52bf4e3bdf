"""How Postgres finds the rows of a batch, whatever it knew of the table when it planned that."""

import asyncpg
import pytest
from sqlalchemy import text

from tests.stores.sql_support import bids, opened, outcomes, session
from webhook_dedup.inbox.sql import SqlInbox
from webhook_dedup.model import Bid, Outcome, Settlement, new_token
from webhook_dedup.testing.inbox_rules.case import an_item
from webhook_dedup.testing.store_rules.case import LONG_LEASE, LONG_TTL

TABLES = ("webhook_dedup_claims", "webhook_dedup_inbox")
UNTIL_PLANS_ARE_KEPT = 8
SCANS = """
SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname = ANY(:tables)
UNION ALL
SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'webhook_dedup_inbox_due'
"""


async def lives(store, inbox, size):
    """Let so many events go all their way, in one batch each; some come twice."""
    items = [an_item() for _ in range(size)]
    await inbox.put(items, LONG_LEASE)
    batch = bids(size)
    claims = await store.claim(batch)
    known = await store.claim([Bid(bid.key, new_token(), LONG_LEASE) for bid in batch])
    assert outcomes(known) == {Outcome.IN_FLIGHT}
    assert all(await store.renew(claims, LONG_LEASE))
    assert all(await inbox.renew(items, LONG_LEASE))
    assert all(await inbox.begin(items))
    assert all(await store.release(claims[::2]))
    assert all(await store.complete([Settlement(claim, LONG_TTL) for claim in claims[1::2]]))
    await inbox.done(items)


async def scanned(store):
    """How many rows were read by going through tables, or all that waits, from end to end."""
    async with store.connection.connect() as connection:  # the one that all verbs went over
        await connection.execute(text("SELECT pg_stat_force_next_flush()"))
        return (await connection.scalars(text(SCANS), {"tables": list(TABLES)})).all()


async def test_psycopg_too_is_set_to_use_indexes(postgres_url):
    """The setting outlives the transaction it is made in."""
    async with opened(postgres_url.replace("postgresql:", "postgresql+psycopg:")) as store:
        await store.start()
        for _ in range(2):
            async with store.connection.connect() as connection:
                told = await connection.exec_driver_sql("SHOW enable_seqscan")
                assert told.scalar() == "off"


async def test_plans_made_of_empty_tables_serve_full_ones(postgres_url):
    """The server keeps a plan, and an inbox is empty for the most part: it uses the indexes."""
    async with opened(postgres_url) as store:
        inbox = SqlInbox.beside(store)
        await inbox.start()
        await lives(store, inbox, 2)
        async with session(postgres_url) as connection:
            for table in TABLES:
                await connection.execute(f"VACUUM ANALYZE {table}")
        before = await scanned(store)
        for _ in range(UNTIL_PLANS_ARE_KEPT):
            await lives(store, inbox, 8)
        await lives(store, inbox, 200)
        assert await scanned(store) == before


@pytest.mark.parametrize(("pooled", "expected"), [(False, "off"), (True, "on")])
async def test_a_poolers_connections_are_left_as_they_are(
    postgres_url, monkeypatch, pooled, expected
):
    """Behind a pooler, which shows another process id, a setting might end up with others."""
    if pooled:
        monkeypatch.setattr(asyncpg.Connection, "get_server_pid", lambda _: 1)
    async with opened(postgres_url) as store:
        await store.start()
        async with store.connection.connect() as connection:
            told = await connection.exec_driver_sql("SHOW enable_seqscan")
            assert told.scalar() == expected
