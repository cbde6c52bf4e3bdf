"""Ask every question, or those named, and write the results.

python -m benchmarks.bench              # quick, under three minutes
python -m benchmarks.bench --full       # all sizes; keeps the result in benchmarks/results
python -m benchmarks.bench --only http,claims
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
import time
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.servers import PostgresServer, RedisServer

from .lab import FULL, QUICK, Lab, Row, Scale
from .machine import describe
from .plots import draw
from .report import judged, write

QUESTIONS = (
    "claims", "pairs", "life", "duplicates", "http", "sizes", "growth", "expiry", "bloom",
    "correctness",
)  # fmt: skip
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", default=",".join(QUESTIONS), help="questions, with commas")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    kept = Path(__file__).parent.parent / "results"
    out = arguments.out or (kept if arguments.full else Path("build/bench"))
    logging.getLogger("webhook_dedup").setLevel(logging.ERROR)
    scale = FULL if arguments.full else QUICK
    _run(scale, arguments.only.split(","), out)


def _run(scale: Scale, questions: list[str], out: Path) -> None:
    rows: list[Row] = []
    console = Console()
    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with (
        RedisServer() as redis,
        RedisServer(args=DURABLE) as durable,
        PostgresServer() as postgres,
        tempfile.TemporaryDirectory(prefix="webhook-dedup-", dir=Path.cwd()) as folder,
        Progress(*columns, console=console) as progress,
    ):
        bar = progress.add_task("", total=len(questions))
        lab = Lab(redis, durable, postgres, Path(folder), scale,
                  lambda line: progress.update(bar, description=line))  # fmt: skip
        machine = describe(lab)
        for name in questions:
            began = time.perf_counter()
            # An event loop for each: one of the peers leaves its mark on it.
            rows += asyncio.run(import_module(f".{name}", __package__).ask(lab))
            write(out, machine, rows)
            draw(out, rows)
            progress.advance(bar)
            progress.log(f"{name}: {time.perf_counter() - began:.0f} s")
    for target in judged(rows):
        mark = "[green]yes[/]" if target["holds"] else "[red]no [/]"
        sign = ">=" if target["at least"] else "<="
        console.print(
            f"{mark} {target['measured']:8.2f} {sign} {target['bound']:g}  {target['what']}"
        )
    console.print(f"written to {out}/results.json, results.md and plots")


if __name__ == "__main__":
    main()
