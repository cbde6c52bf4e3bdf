"""How callers share the connections of a store."""

import asyncio

import pytest

from tests.stores import sql_support
from tests.stores.sql_support import bids, opened, outcomes
from webhook_dedup.model import Outcome
from webhook_dedup.stores.sql import SqlStore

url = sql_support.url


async def test_a_caller_that_asks_without_pause_lets_others_in(tmp_path):
    """What waits for SQLite's one connection gets it between two statements of another."""
    store = SqlStore.from_url(f"sqlite:///{tmp_path}/claims.db", timeout=2.0)
    try:
        await store.claim(bids(1))
        purging = asyncio.ensure_future(store.purge())
        while not purging.done():
            await store.claim(bids(1))
        assert await purging == 0
    finally:
        await store.aclose()


async def test_closing_waits_for_statements_under_way(url):
    """A claim that was sent before the store is closed gets its answer."""
    async with opened(url) as store:
        await store.claim(bids(1))
        claiming = asyncio.ensure_future(store.claim(bids(500)))
        await asyncio.sleep(0)
        await store.aclose()
        assert claiming.done()
        assert outcomes(await claiming) == {Outcome.FRESH}


async def test_a_cancelled_caller_leaves_no_half_read_answer_behind(url):
    """Whoever asks next, on the same connection or another, gets the answer to his own question."""
    async with opened(url) as store:
        await store.claim(bids(1))
        for _ in range(20):
            cancelled = asyncio.ensure_future(store.claim(bids(50)))
            await asyncio.sleep(0)
            cancelled.cancel()
            asked = bids(3)
            answers = await store.claim(asked)
            assert [claim.key for claim in answers] == [bid.key for bid in asked]
            assert outcomes(answers) == {Outcome.FRESH}
            with pytest.raises(asyncio.CancelledError):
                await cancelled
