"""What do claims feel of expired rows being deleted?"""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict

from sqlalchemy import text

from webhook_dedup.bench.load import drive, summary
from webhook_dedup.bench.operations import claiming, opened
from webhook_dedup.model import Bid, new_token

from .lab import Lab, Row

TASKS = 16
SHORT = 2.0  # longer than a batch takes on a busy machine


async def ask(lab: Lab) -> list[Row]:
    rows: list[Row] = []
    for name, url in (("postgres", lab.postgres.url), ("sqlite", lab.sqlite())):
        lab.tell(f"expiry: {name}")
        rows += await _measure(lab, name, url)
    return rows


async def _measure(lab: Lab, name: str, url: str) -> list[Row]:
    number = lab.scale.keys[0]
    async with opened(url) as store:
        claim = claiming(store)
        await drive(claim, tasks=TASKS, seconds=0.2)
        calm = await drive(claim, tasks=TASKS, seconds=2 * lab.scale.seconds)
        for start in range(0, number, 1000):
            names = [f"expired:{n}" for n in range(start, start + 1000)]
            await store.claim([Bid(each, new_token(), SHORT) for each in names])
        await asyncio.sleep(SHORT)
        began = time.perf_counter()
        purging = asyncio.ensure_future(store.purge())
        busy = await drive(claim, tasks=TASKS, seconds=2 * lab.scale.seconds)
        purged = await purging
        took = time.perf_counter() - began
        async with store.connection.begin() as connection:
            await connection.execute(text(f"DELETE FROM {store.namespace}"))
    about = {"question": "expiry", "who": f"webhook_dedup {name}", "tasks": TASKS}
    return [
        {**about, "purging": False, **asdict(summary([calm]))},
        {**about, "purging": True, **asdict(summary([busy])), "purged": purged, "seconds": took},
    ]
