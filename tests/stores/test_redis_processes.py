"""Several processes on one Redis: each event is fresh once."""

import json
from collections import Counter
from itertools import chain

from tests.together import run_together
from webhook_dedup.testing.store_rules.case import a_key

PROCESSES, TASKS, KEYS = 4, 25, 40

RACER = """
import asyncio, json, random, sys
from webhook_dedup.model import Bid, new_token
from webhook_dedup.stores.redis import RedisStore

async def race(store, keys):
    keys = random.sample(keys, len(keys))
    won = []
    while keys:
        size = random.choice((1, 2, 5))
        batch, keys = keys[:size], keys[size:]
        claims = await store.claim([Bid(key, new_token(), 600) for key in batch])
        won += [claim.key for claim in claims if claim.fresh]
    return won

async def main(url, keys, tasks):
    store = RedisStore.from_url(url)
    await store.start()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    won = await asyncio.gather(*(race(store, keys) for _ in range(tasks)))
    print(json.dumps([key for part in won for key in part]), flush=True)
    await store.aclose()

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])))
"""


async def test_processes_race(redis_url):
    """Of all tasks in all processes that claim a key, one is told it is fresh."""
    keys = [a_key(str(number)) for number in range(KEYS)]
    parts = await run_together(PROCESSES, RACER, redis_url, json.dumps(keys), str(TASKS))
    won = Counter(chain.from_iterable(parts))
    assert won == Counter(keys)
