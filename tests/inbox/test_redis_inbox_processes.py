"""Several processes on one Redis inbox: each item is taken once."""

import uuid
from collections import Counter
from itertools import chain

from tests.together import run_together
from webhook_dedup.contracts import Sought
from webhook_dedup.inbox.redis import RedisInbox
from webhook_dedup.testing.inbox_rules.case import an_item

PROCESSES, TASKS, ITEMS = 4, 10, 1_000

TAKER = """
import asyncio, json, random, sys
from webhook_dedup.inbox.redis import RedisInbox

async def work(inbox):
    taken = []
    while some := await inbox.take(random.choice((1, 3, 8)), 600):
        taken += some
        assert all(await inbox.begin(some))
        await inbox.done(some[::2])
    return [item.id for item in taken]

async def main(url, prefix, tasks):
    inbox = RedisInbox.from_url(url, prefix=prefix)
    await inbox.start()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    parts = await asyncio.gather(*(work(inbox) for _ in range(tasks)))
    print(json.dumps([item_id for part in parts for item_id in part]), flush=True)
    await inbox.aclose()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


async def test_processes_take(redis_url):
    """Of all tasks in all processes that take from an inbox, one is given each item."""
    prefix = f"test-{uuid.uuid4().hex}:"
    inbox = RedisInbox.from_url(redis_url, prefix=prefix)
    items = [an_item() for _ in range(ITEMS)]
    await inbox.put(items, 0.0)
    parts = await run_together(PROCESSES, TAKER, redis_url, prefix, str(TASKS))
    taken = Counter(chain.from_iterable(parts))
    assert taken == Counter(item.id for item in items)
    assert {item.attempts for item in await inbox.find(Sought(), limit=ITEMS)} == {1}
    await inbox.aclose()
