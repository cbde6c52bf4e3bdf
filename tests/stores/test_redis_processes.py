"""Several processes on one Redis: each event is fresh once."""

import asyncio
import json
import sys
from collections import Counter

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
    racers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", RACER, redis_url, json.dumps(keys), str(TASKS)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(PROCESSES)
    ]
    for racer in racers:
        assert await racer.stdout.readline() == b"ready\n"
    answers = await asyncio.gather(*(racer.communicate(b"go\n") for racer in racers))
    assert all(racer.returncode == 0 for racer in racers)
    won = Counter(key for out, _ in answers for key in json.loads(out))
    assert won == Counter(keys)
