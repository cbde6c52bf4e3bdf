"""Does every store grant each key once under a race, and what is left after a SIGKILL?"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import asdict

from tests.redis_groups import RedisCluster
from webhook_dedup.bench.operations import TTL, claiming, opened
from webhook_dedup.bench.race import race, race_processes
from webhook_dedup.model import Bid, Outcome, Settlement, new_token

from .lab import Contestant, Lab, Row, compare, opening
from .ours import OURS, through

LEASE = 2.0
KEYS = 500


async def ask(lab: Lab) -> list[Row]:
    shared = {"redis": lab.redis.url, "postgres": lab.postgres.url, "sqlite": lab.sqlite()}
    rows: list[Row] = []
    for name in ("memory", "bloom"):
        lab.tell(f"race: {name}")
        async with opened(f"{name}://") as store:
            rows.append(_row("race", name, asdict(await race(store))))
    for name, url in shared.items():
        lab.tell(f"race: {name}")
        rows.append(_row("race", name, asdict(await race_processes(url))))
        lab.tell(f"SIGKILL: {name}")
        rows.append(_row("kill", name, await _kill(url)))
    return rows + await _cluster(lab)


async def _cluster(lab: Lab) -> list[Row]:
    """Three nodes of a Redis Cluster, for real."""
    with RedisCluster(size=3) as cluster:
        url = cluster.url.replace("redis://", "redis+cluster://")
        lab.tell("race: Redis Cluster of 3")
        verdict = asdict(await race_processes(url))
        contestant = Contestant(f"{OURS} redis cluster of 3", opening(through, url, claiming))
        speed = await compare(lab, "cluster", [contestant], 64)
    return [_row("race", "redis cluster of 3", verdict), *speed]


def _row(question: str, name: str, figures: Row) -> Row:
    return {"question": question, "who": f"{OURS} {name}", **figures}


async def _kill(url: str) -> Row:
    """Kill a process that has completed half of its keys and holds the rest."""
    command = [sys.executable, "-m", "benchmarks.bench.correctness", url, prefix := new_token()]
    victim = await asyncio.to_thread(_until_ready, command)
    victim.kill()
    victim.wait()
    done, held = _keys(prefix)
    async with opened(url) as store:
        await asyncio.sleep(LEASE)
        again = await store.claim([Bid(key, new_token(), LEASE) for key in done + held])
    forgotten = sum(claim.outcome is not Outcome.DUPLICATE for claim in again[: len(done)])
    stuck = sum(not claim.fresh for claim in again[len(done) :])
    return {"keys": len(done + held), "forgotten": forgotten, "stuck": stuck}


def _until_ready(command: list[str]) -> subprocess.Popen[bytes]:
    victim = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert victim.stdout is not None
    victim.stdout.readline()
    return victim


def _keys(prefix: str) -> tuple[list[str], list[str]]:
    return tuple([f"{prefix}:{kind}:{n}" for n in range(KEYS)] for kind in ("done", "held"))


async def _victim(url: str, prefix: str) -> None:
    done, held = _keys(prefix)
    async with opened(url) as store:
        claims = await store.claim([Bid(key, new_token(), LEASE) for key in done + held])
        await store.complete([Settlement(claim, TTL) for claim in claims[: len(done)]])
        print("ready", flush=True)
        await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(_victim(*sys.argv[1:]))
