"""Harm a running system for a while, let it recover, and count.

``python -m benchmarks.chaos --store redis --seconds 60 --seed 7 --json redis.json``. Exit status 1
when an acknowledged event was never run, or one ran again without a reason the promises know (see
:mod:`benchmarks.chaos.verdict`), or when nothing was acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

from webhook_dedup import open_store
from webhook_dedup.contracts import OperableInbox, Sought
from webhook_dedup.inbox import inbox_beside

from . import effects
from .app import LEASE, Shared
from .backends import Backend, backend
from .cuts import Cutter
from .harm import Harm
from .ledger import Ledger
from .load import Sender
from .verdict import Rules, Verdict, judge
from .windows import Line
from .workers import Pool

STORES = ("sqlite", "postgres", "redis")
LOOKS, BETWEEN_LOOKS = 600, 0.2  # recovery may take minutes
SENDING_LIMIT = 60.0
CONCURRENCY = 256


async def chaos(options: argparse.Namespace, place: Backend, directory: Path) -> Verdict:
    """Run one store's trial and judge it."""
    ledger = Ledger(directory / "ledger")
    transactional = options.effect == "transaction"
    if transactional:
        await effects.prepare(place.effects)
    async with _reached(place) as cutter:
        url = place.url if cutter is None else cutter.through(place.url)
        own = url if place.effects == place.url else place.effects
        shared = Shared(url, directory, options.concurrency, own if transactional else "")
        chance = random.Random(f"workers-{options.seed}")
        async with Pool(shared, ledger, options.workers, chance) as pool:
            ports = [worker.port for worker in pool.places]
            handlers = options.concurrency * options.workers
            sender = Sender(ports, handlers, random.Random(f"load-{options.seed}"))
            harm = Harm(pool, place, cutter, ledger, options.seed)
            await _under_harm(options, sender, harm, directory)
            began = monotonic()
            left = await _recover(place.url)
            recovery = monotonic() - began
    lines = ledger.lines()
    rows = await effects.count(place.effects) if transactional else None
    verdict = judge(lines, sender.acknowledged, Rules(LEASE, options.concurrency, rows))
    ledger.close()
    verdict.notes = {
        "seed": options.seed,
        "effect": options.effect,
        **_cuts(place, lines),
        **({"its disk is never full": place.lacking} if place.lacking else {}),
        "sent": sender.sent,
        "answers": dict(sorted(sender.answers.items())),
        "processes killed": pool.deaths,
        "starts while the store was away": pool.failed_starts,
        "seconds to recover": round(recovery, 1),
        **left,
    }
    return verdict


def _cuts(place: Backend, lines: list[Line]) -> dict[str, Any]:
    cuts = sum(line["what"] == "cut" for line in lines)
    return {"connections cut": cuts if place.networked else "none, it is a file"}


@asynccontextmanager
async def _reached(place: Backend) -> AsyncIterator[Cutter | None]:
    """Put what cuts connections between the workers and a store that has any."""
    if not place.networked:
        yield None
        return
    async with Cutter.to(place.url) as cutter:
        yield cutter


async def _under_harm(
    options: argparse.Namespace, sender: Sender, harm: Harm, directory: Path
) -> None:
    """Send while harm is done; when it is over, let the sender end what it has begun."""
    stop = asyncio.Event()
    sending = asyncio.ensure_future(sender.run(stop))
    harming = asyncio.ensure_future(harm.run())
    ends = [sending, harming]
    await asyncio.wait(ends, timeout=options.seconds, return_when="FIRST_COMPLETED")
    # On a slow machine the processes of a short trial are hardly up when its time is over.
    struck = asyncio.ensure_future(harm.struck())
    await asyncio.wait([*ends, struck], timeout=SENDING_LIMIT, return_when="FIRST_COMPLETED")
    struck.cancel()
    (directory / "calm").touch()
    stop.set()
    harming.cancel()
    with suppress(asyncio.CancelledError):
        await harming
    await asyncio.wait_for(sending, SENDING_LIMIT)


async def _recover(url: str) -> dict[str, int]:
    """Wait until the inbox is drained, or for a bounded time; tell what is left in it."""
    store = open_store(url)
    inbox: OperableInbox = inbox_beside(store)
    try:
        await inbox.start()
        for _ in range(LOOKS):
            if not await inbox.count(Sought(state="waiting")):
                break
            await asyncio.sleep(BETWEEN_LOOKS)
        return {
            "left waiting": await inbox.count(Sought(state="waiting")),
            "dead letters": await inbox.count(Sought(state="dead")),
        }
    finally:
        await inbox.aclose()
        await store.aclose()


def trial(name: str, options: argparse.Namespace) -> Verdict:
    """Run one store's trial in a directory that is kept when the promises were broken."""
    directory = Path(tempfile.mkdtemp(prefix=f"chaos-{name}-"))
    with backend(name, directory) as place:
        verdict = asyncio.run(chaos(options, place, directory))
    print(f"{name}: {'holds' if verdict.holds else 'BROKEN'}\n{verdict.table()}", flush=True)
    if verdict.holds:
        shutil.rmtree(directory)
    else:
        print(f"  lost: {verdict.lost}\n  unexplained: {verdict.unexplained}")
        print(f"  ledger and logs: {directory}", flush=True)
    return verdict


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--store", choices=STORES, action="append", help="default: all three")
    parser.add_argument("--seconds", type=float, default=150.0, help="how long harm is done")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--workers", type=int, default=2, help="server processes")
    parser.add_argument(
        "--concurrency",
        type=int,
        default=CONCURRENCY,
        help="handlers a process runs at once; with 1 the bound is judged in its plain words",
    )
    parser.add_argument(
        "--effect",
        choices=effects.EFFECTS,
        default="ledger",
        help="transaction: claimed and written in the handler's own database transaction",
    )
    parser.add_argument("--json", type=Path, help="a file for the figures")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    verdicts = {name: trial(name, options) for name in options.store or STORES}
    if options.json:
        figures = {name: verdict.as_json() for name, verdict in verdicts.items()}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if all(verdict.holds for verdict in verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
