"""Several processes on one inbox, processes that are killed, and a store in the same file."""

import asyncio
import json
from collections import Counter
from itertools import chain

from sqlalchemy.ext.asyncio import create_async_engine

from tests.inbox.sql_support import opened
from tests.stores import sql_support
from tests.together import run_together, spawn
from webhook_dedup.contracts import Sought
from webhook_dedup.inbox.sql import SqlInbox
from webhook_dedup.model import Bid, Settlement, new_token
from webhook_dedup.stores.sql import SqlStore
from webhook_dedup.testing.inbox_rules.case import an_item
from webhook_dedup.testing.timed import LONG_LEASE

url = sql_support.url

PROCESSES, ITEMS, ROUNDS, TASKS = 4, 400, 15, 6
BODY = bytes(range(256)) * 400

TAKER = """
import asyncio, json, sys
from webhook_dedup.inbox.sql import SqlInbox

async def main(url):
    inbox = SqlInbox.from_url(url, timeout=60)
    await inbox.start()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    taken = []
    while some := await inbox.take(7, 600):
        assert all(await inbox.begin(some))
        taken += some
    while some := await inbox.take(7, 600):  # what others had locked and then left
        taken += some
    print(json.dumps([item.id for item in taken]), flush=True)
    await inbox.aclose()

asyncio.run(main(sys.argv[1]))
"""

PUTTER = """
import asyncio, json, os, signal, sys
from webhook_dedup.inbox.sql import SqlInbox
from webhook_dedup.testing.inbox_rules.case import an_item

async def main(url):
    inbox = SqlInbox.from_url(url)
    items = [an_item(body=bytes(range(256)) * 400, path="/" + str(n)) for n in range(3)]
    await inbox.put(items, 0.2)
    sys.stdout.write(json.dumps([item.id for item in items]))
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(sys.argv[1]))
"""


async def test_processes_never_take_the_same_item(url):
    """Of several processes that take at once each item goes to one, and none is left."""
    items = [an_item() for _ in range(ITEMS)]
    async with opened(url) as inbox:
        await inbox.put(items, 0.0)
        parts = await run_together(PROCESSES, TAKER, url)
        left = await inbox.take(ITEMS, LONG_LEASE)
        assert {item.attempts for item in await inbox.find(Sought(), limit=ITEMS)} <= {0, 1}
    taken = Counter(chain.from_iterable(parts))
    taken.update(item.id for item in left)
    assert taken == Counter(item.id for item in items)


async def test_what_was_put_outlives_its_process(url):
    """A process killed as soon as put returned leaves its items, byte for byte, to the others."""
    process = await spawn(PUTTER, url)
    out, _ = await process.communicate()
    assert process.returncode == -9
    ids = json.loads(out)
    async with opened(url) as inbox:
        await asyncio.sleep(0.25)
        taken = {item.id: item for item in await inbox.take(10, LONG_LEASE)}
    assert sorted(taken) == sorted(ids)
    assert [taken[each].delivery.path for each in ids] == ["/0", "/1", "/2"]
    assert {item.delivery.body for item in taken.values()} == {BODY}


async def test_store_and_inbox_share_a_file(tmp_path):
    """A store and an inbox with connections of their own never see each other's locks."""
    path = f"sqlite:///{tmp_path}/webhooks.db"
    store, inbox = SqlStore.from_url(path), SqlInbox.from_url(path)
    shares = await asyncio.gather(*(work(store, inbox) for _ in range(TASKS)))
    assert sum(shares) == TASKS * ROUNDS
    assert await inbox.count(Sought()) == 0
    await store.aclose()
    await inbox.aclose()


async def test_store_and_inbox_share_an_engine(url):
    """Both live on the user's own engine, which neither closes."""
    driver = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
    scheme, rest = url.split(":", 1)
    engine = create_async_engine(f"{driver[scheme]}:{rest}")
    store, inbox = SqlStore(engine), SqlInbox(engine)
    shares = await asyncio.gather(*(work(store, inbox) for _ in range(TASKS)))
    assert sum(shares) == TASKS * ROUNDS
    pool = engine.pool
    await store.aclose()
    await inbox.aclose()
    assert engine.pool is pool
    await engine.dispose()


async def work(store, inbox):
    """Put, claim, begin, complete and end; return how many ended."""
    for _ in range(ROUNDS):
        item = an_item(key=f"key {new_token()}")
        await inbox.put([item], LONG_LEASE)
        (claim,) = await store.claim([Bid(item.key, item.token, LONG_LEASE)])
        assert claim.fresh
        assert await inbox.begin([item]) == [True]
        assert await store.complete([Settlement(claim, LONG_LEASE)]) == [True]
        await inbox.done([item])
    return ROUNDS
