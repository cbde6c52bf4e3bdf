"""``webhook-dedup demo``: a real server, real connections, one event five times at once."""

from __future__ import annotations

import asyncio
import logging
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from ...errors import WebhookDedupError
from ...observe.log import JsonFormatter
from ..output import give_up
from .serving import run
from .steps import Step, steps
from .watching import linger, watching

__all__ = ["demo"]


def demo(
    store: Annotated[str, typer.Option(help="Store URL; an embedded SQLite file by default.")] = "",
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Serve Prometheus metrics there until Ctrl-C."),
    ] = None,
    otlp: Annotated[
        str, typer.Option(metavar="URL", help="Export metrics and spans to this OTLP collector.")
    ] = "",
) -> None:
    """Send signed deliveries to a real server and show that each event runs once."""
    taken = steps()
    _log_as_json()
    try:
        with tempfile.TemporaryDirectory(prefix="webhook-dedup-") as folder:
            url = store or f"sqlite:///{Path(folder, 'webhooks.db')}"
            with watching(metrics_port, otlp) as (observers, address):
                asyncio.run(run(url, taken, observers))
                _print(taken)
                if address:
                    linger(address)
    except WebhookDedupError as exc:
        give_up("demo", exc)
    wrong = [step.label for step in taken if not step.as_expected]
    for label in wrong:
        typer.echo(f"FAILED: {label}: other answers or runs than expected", err=True)
    raise typer.Exit(1 if wrong else 0)


def _log_as_json() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("webhook_dedup")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _print(steps: Sequence[Step]) -> None:
    table = Table(title="What was sent, and what ran", box=box.SIMPLE)
    table.add_column("delivery")
    for name in ("sent", "acknowledged", "refused", "runs", "failed", "skipped"):
        table.add_column(name, justify="right")
    for step in steps:
        statuses = Counter(f"({status})" for status, _ in step.answers)
        acknowledged = statuses.pop("(200)", 0)
        table.add_row(
            step.label,
            str(step.copies),
            str(acknowledged),
            _listed(statuses),
            str(step.told["succeeded"]),
            str(step.told["failed"]),
            _listed(
                {
                    kind.removeprefix("skipped "): count
                    for kind, count in step.told.items()
                    if kind.startswith("skipped ")
                }
            ),
        )
    waits = [seconds for step in steps for status, seconds in step.answers if status == step.answer]
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(table)
    console.print(f"p50 of the answers: {1000 * statistics.median(waits):.1f} ms")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items()) or "-"
