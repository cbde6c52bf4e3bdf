"""Ask every question, or those named, and write the results.

python -m benchmarks.bench              # quick, under three minutes
python -m benchmarks.bench --full       # all sizes; keeps the result in benchmarks/results
python -m benchmarks.bench --full --only http,claims   # again; the other answers stay
python -m benchmarks.bench --full --missing            # what has no answer at this size yet
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import tempfile
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.servers import PostgresServer, RedisServer

from . import pages
from .lab import FULL, QUICK, Lab, Scale
from .machine import describe
from .plots import draw
from .report import report
from .results import KEPT, Answer, Results
from .targets import judged

QUESTIONS = (
    "claims", "pairs", "life", "duplicates", "http", "sizes", "growth", "expiry", "bloom",
    "correctness",
)  # fmt: skip
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
# As a server of its own has them. Checkpoints do not come into a stretch of under a second: each
# page that is changed after one is written whole, which a load of minutes hardly notices.
POSTGRES = (
    "-c", "shared_buffers=1GB", "-c", "max_wal_size=4GB", "-c", "checkpoint_timeout=30min",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", default=",".join(QUESTIONS), help="questions, with commas")
    parser.add_argument(
        "--missing", action="store_true", help="only what has no answer at this size"
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    out = arguments.out or (KEPT if arguments.full else Path("build/bench"))
    logging.getLogger("webhook_dedup").setLevel(logging.ERROR)
    results = Results.read(out)
    scale = FULL if arguments.full else QUICK
    asked = arguments.only.split(",")
    if arguments.missing:
        asked = [name for name in asked if not results.answered(name, asdict(scale))]
    failed = _run(scale, asked, results, out)
    if out == KEPT:
        pages.write(results)
    if failed:
        raise SystemExit(f"no answer to {', '.join(failed)}; --missing asks again")


def _run(scale: Scale, questions: list[str], results: Results, out: Path) -> list[str]:
    """Ask one after the other; return those that failed."""
    console, failed = Console(), []
    columns = (
        BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    )  # fmt: skip
    with (
        RedisServer() as redis,
        RedisServer(args=DURABLE) as durable,
        PostgresServer(args=POSTGRES) as postgres,
        tempfile.TemporaryDirectory(prefix="webhook-dedup-", dir=Path.cwd()) as folder,
        Progress(*columns, console=console) as progress,
    ):
        bar = progress.add_task("", total=len(questions))
        lab = Lab(redis, durable, postgres, Path(folder), scale,
                  lambda line: progress.update(bar, description=line))  # fmt: skip
        results.machine = describe(lab)
        for name in questions:
            try:
                results.answers[name] = answer = _ask(lab, name)
            except Exception:  # noqa: BLE001 - the others can still be asked
                console.print_exception()
                failed.append(name)
                continue
            results.write(out, judged(results.rows))
            report(out, results)
            draw(out, results.rows)
            progress.advance(bar)
            progress.log(f"{name}: {answer.seconds:.0f} s")
    for target in judged(results.rows):
        console.print(_line(target))
    console.print(f"written to {out}: results.json, results.md and plots")
    return failed


def _line(target: dict[str, Any]) -> str:
    by_cpu = target["by CPU time"]
    otherwise = "[yellow]cpu[/]" if target["holds by CPU time"] else "[red]no [/]"
    mark = "[green]yes[/]" if target["holds"] else otherwise
    sign = ">=" if target["at least"] else "<="
    beside = "" if by_cpu is None else f" ({by_cpu:.2f} by CPU time)"
    return f"{mark} {target['measured']:8.2f} {sign} {target['bound']:g}  {target['what']}{beside}"


def _ask(lab: Lab, name: str) -> Answer:
    at, began, before = time.gmtime(), time.perf_counter(), os.getloadavg()[0]
    # An event loop for each: one of the peers leaves its mark on it.
    rows = asyncio.run(import_module(f".{name}", __package__).ask(lab))
    return Answer(
        at=time.strftime("%Y-%m-%d %H:%M UTC", at),
        seconds=time.perf_counter() - began,
        load=(before, os.getloadavg()[0]),
        scale=asdict(lab.scale),
        rows=rows,
    )


if __name__ == "__main__":
    main()
