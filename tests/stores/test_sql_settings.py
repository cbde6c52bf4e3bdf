"""What a database's owner has set, for reasons of his own, changes nothing."""

import asyncio
import random
from itertools import chain

import pytest

from tests.stores.sql_support import session
from webhook_dedup.inbox.sql import SqlInbox
from webhook_dedup.model import Bid, Outcome, Settlement, new_token
from webhook_dedup.stores.sql import SqlStore
from webhook_dedup.testing.inbox_rules.case import an_item
from webhook_dedup.testing.store_rules.case import LONG_LEASE, LONG_TTL, a_key

SETTINGS = (
    "default_transaction_isolation = 'serializable'",
    "default_transaction_deferrable = on",
    "standard_conforming_strings = off",
    "backslash_quote = off",
    "array_nulls = off",
    "transform_null_equals = on",
    "bytea_output = 'escape'",
    "client_encoding = 'latin1'",
    "timezone = 'Asia/Tokyo'",
    "datestyle = 'German'",
    "extra_float_digits = 0",
    "plan_cache_mode = force_generic_plan",
)
KEYS, STORES = 60, 6


@pytest.fixture(params=["postgresql", "postgresql+psycopg"])
async def url(request, postgres_url):
    """A database with every setting that could get in the way."""
    async with session(postgres_url) as admin:
        for setting in SETTINGS:
            name = postgres_url.rpartition("/")[2]
            await admin.execute(f"ALTER DATABASE {name} SET {setting}")
    return postgres_url.replace("postgresql", request.param, 1)


async def test_each_key_is_granted_once(url):
    """Stores that ask for the same keys at once are answered, without an error."""
    keys = [f"{a_key()}\\'{number}" for number in range(KEYS)]
    stores = [SqlStore.from_url(url) for _ in range(STORES)]

    async def take_all(store):
        held = []
        for start in random.sample(range(0, KEYS, 5), KEYS // 5):
            bids = [Bid(key, new_token(), LONG_LEASE, b"\\'\0") for key in keys[start : start + 5]]
            held += [one for one in await store.claim(bids) if one.outcome is Outcome.FRESH]
        assert all(await store.renew(held, LONG_LEASE)) if held else True
        done = [Settlement(one, LONG_TTL, b"\\'\0\xff") for one in held]
        assert all(await store.complete(done)) if done else True
        return [one.key for one in held]

    granted = await asyncio.gather(*map(take_all, stores))
    assert sorted(chain.from_iterable(granted)) == sorted(keys)
    again = await stores[0].claim([Bid(key, new_token(), LONG_LEASE, b"\\'\0") for key in keys])
    assert {(one.outcome, one.result) for one in again} == {(Outcome.DUPLICATE, b"\\'\0\xff")}
    for store in stores:
        await store.aclose()


async def test_deliveries_come_back_as_they_were(url):
    """Bytes, names and texts of every kind are those that were put."""
    inbox = SqlInbox.from_url(url)
    items = [
        an_item(key=f"k\\'{number}", body=bytes(range(256)) + b"\\'\\\\", path="/h\\'ö\x01€")
        for number in range(5)
    ]
    await inbox.put(items, 0.0)
    taken = {item.id: item for item in await inbox.take(10, LONG_LEASE)}
    for item in items:
        assert taken[item.id].delivery == item.delivery
        assert taken[item.id].key == item.key
    assert all(await inbox.begin(list(taken.values())))
    await inbox.done(list(taken.values()))
    assert await inbox.next_due() is None
    await inbox.aclose()
