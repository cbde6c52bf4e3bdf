"""``webhook-dedup bench``: compare stores on this machine, speed beside correctness."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from ..bench.load import Operation, Sample, Summary, drive, summary
from ..bench.operations import claiming, completing, living, opened
from ..bench.race import Verdict, race, race_processes
from ..contracts import Store
from ..errors import WebhookDedupError
from .output import AsJson, give_up, print_json, print_table
from .storage import is_within_process

__all__ = ["bench"]

_OPERATIONS: dict[str, Callable[[Store], Operation]] = {
    "claim": claiming,
    "claim + complete": completing,
    "whole life": living,
}
_WARM_UP = 0.2

_Stores = Annotated[
    list[str] | None,
    typer.Option("--store", help="Store URL, repeatable; what can be had here if none is given."),
]


@dataclass(frozen=True, slots=True)
class _Line:
    store: str
    operation: str
    tasks: int
    figures: Summary


def bench(
    store: _Stores = None,
    tasks: Annotated[
        list[int] | None, typer.Option(min=1, help="Concurrent tasks, repeatable.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.05, help="Length of one sample.")] = 0.5,
    rounds: Annotated[int, typer.Option(min=1, help="Samples of each load, interleaved.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Measure claims, completions and whole events on stores, then race for the same keys.

    Keys of its own are left to expire in the stores named. How the library compares with others,
    over HTTP and at size, is measured by ``make bench`` in the repository.
    """
    logging.getLogger("webhook_dedup").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="webhook-dedup-") as folder:
        urls = store or ["memory://", "bloom://", f"sqlite:///{Path(folder, 'bench.db')}"]
        try:
            lines, verdicts = asyncio.run(_measure(urls, tasks or [1, 64], seconds, rounds))
        except WebhookDedupError as exc:
            give_up("bench", exc)
    _tell(lines, verdicts, as_json=as_json)
    raise typer.Exit(1 if any(each.missed or each.skipped for each in verdicts.values()) else 0)


async def _measure(
    urls: Sequence[str], tasks: Sequence[int], seconds: float, rounds: int
) -> tuple[list[_Line], dict[str, Verdict]]:
    lines: list[_Line] = []
    verdicts: dict[str, Verdict] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=len(urls) * (len(tasks) * len(_OPERATIONS) + 1))
        for url in urls:
            async with opened(url) as store:
                for name, number in product(_OPERATIONS, tasks):
                    progress.update(bar, description=f"{store.name}: {name}, {number} tasks")
                    operation = _OPERATIONS[name](store)
                    samples = await _samples(operation, number, seconds, rounds)
                    lines.append(_Line(store.name, name, number, summary(samples)))
                    progress.advance(bar)
                progress.update(bar, description=f"{store.name}: race")
                alone = is_within_process(url)
                verdicts[store.name] = await (race(store) if alone else race_processes(url))
                progress.advance(bar)
    return lines, verdicts


async def _samples(
    operation: Operation, tasks: int, seconds: float, rounds: int
) -> Sequence[Sample]:
    await drive(operation, tasks=tasks, seconds=_WARM_UP)
    return [await drive(operation, tasks=tasks, seconds=seconds) for _ in range(rounds)]


def _tell(lines: Sequence[_Line], verdicts: dict[str, Verdict], *, as_json: bool) -> None:
    if as_json:
        for line in lines:
            print_json(asdict(line))
        for name, verdict in verdicts.items():
            print_json({"store": name, "race": asdict(verdict)})
        return
    columns = ("store", "operation", "tasks", "per second", "spread", "CPU us", "p50 ms", "p99 ms")
    print_table(columns, [_row(line) for line in lines])
    raced = ("store", "raced for", "claims", "run twice", "lost")
    print_table(raced, [(name, *map(str, astuple(each))) for name, each in verdicts.items()])


def _row(line: _Line) -> tuple[str, ...]:
    figures = line.figures
    return (
        line.store,
        line.operation,
        str(line.tasks),
        f"{figures.rate:,.0f}",
        f"{figures.lowest:,.0f}-{figures.highest:,.0f}",
        f"{figures.client_us:.1f}",
        f"{figures.p50_ms:.3f}",
        f"{figures.p99_ms:.3f}",
    )
