"""Harm a running system for a while, let it recover, and count.

``python -m benchmarks.chaos --store redis --seconds 60 --seed 7 --json redis.json``. Exit status 1
when an acknowledged event was never run, or one ran again without a reason the promises know.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from time import monotonic

from webhook_dedup import open_store
from webhook_dedup.contracts import OperableInbox, Sought
from webhook_dedup.inbox import inbox_beside

from .app import LEASE
from .backends import Backend, backend
from .harm import Harm
from .ledger import Ledger
from .load import Sender
from .verdict import Verdict, judge
from .workers import Pool

STORES = ("sqlite", "postgres", "redis")
LOOKS, BETWEEN_LOOKS = 300, 0.2  # recovery may take a minute
SENDING_LIMIT = 60.0


async def chaos(options: argparse.Namespace, place: Backend, directory: Path) -> Verdict:
    """Run one store's trial and judge it."""
    ledger = Ledger(directory / "ledger")
    chance = random.Random(f"workers-{options.seed}")
    async with Pool(place.url, directory, ledger, options.workers, chance) as pool:
        ports = [worker.port for worker in pool.places]
        sender = Sender(ports, random.Random(f"load-{options.seed}"))
        await _under_harm(options, sender, Harm(pool, place, ledger, options.seed), directory)
        began = monotonic()
        left = await _recover(place.url)
        recovery = monotonic() - began
    verdict = judge(ledger.lines(), sender.acknowledged, LEASE)
    ledger.close()
    verdict.notes = {
        "seed": options.seed,
        "sent": sender.sent,
        "answers": dict(sorted(sender.answers.items())),
        "processes killed": pool.deaths,
        "starts while the store was away": pool.failed_starts,
        "seconds to recover": round(recovery, 1),
        **left,
    }
    return verdict


async def _under_harm(
    options: argparse.Namespace, sender: Sender, harm: Harm, directory: Path
) -> None:
    """Send while harm is done; when it is over, let the sender end what it has begun."""
    stop = asyncio.Event()
    sending = asyncio.ensure_future(sender.run(stop))
    harming = asyncio.ensure_future(harm.run())
    await asyncio.wait([sending, harming], timeout=options.seconds, return_when="FIRST_COMPLETED")
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
