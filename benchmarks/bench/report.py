"""A run as JSON for machines and Markdown for people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .lab import Row
from .peers import PEERS
from .targets import TARGETS

COLUMNS = {
    "who": "who", "tasks": "tasks", "share": "duplicates", "keys": "keys", "purging": "purging",
    "rate": "per second", "lowest": "lowest", "highest": "highest", "client_us": "client CPU us",
    "server_us": "server CPU us", "p50_ms": "p50 ms", "p99_ms": "p99 ms",
    "lag_p99_ms": "loop lag p99 ms",
    "bytes": "bytes", "stated": "stated", "measured": "measured",
    "dropped per million": "dropped per million", "bits": "bits a key", "ratio": "of theory",
    "purged": "purged", "seconds": "seconds", "claims": "claims", "missed": "run twice",
    "skipped": "lost", "forgotten": "forgotten", "stuck": "stuck",
}  # fmt: skip


def write(folder: Path, machine: dict[str, Any], rows: list[Row]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    result = {"machine": machine, "rows": rows, "targets": judged(rows)}
    (folder / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / "results.md").write_text("\n".join(_pages(machine, rows)) + "\n")


def judged(rows: list[Row]) -> list[dict[str, Any]]:
    """Every target with what was measured; those whose question was not asked are left out."""
    measured = [(target, target.figure(rows)) for target in TARGETS]
    return [
        {
            "what": target.what,
            "bound": target.bound,
            "at least": target.at_least,
            "measured": value,
            "holds": target.holds(value),
        }
        for target, value in measured
        if not math.isnan(value)
    ]


def _pages(machine: dict[str, Any], rows: list[Row]) -> Iterable[str]:
    yield "# Benchmark results\n"
    yield (
        f"{machine['at']}, {machine['cores']} cores of {machine['cpu']}, "
        f"Python {machine['python']}, "
        f"Redis {machine['servers']['redis']}, PostgreSQL {machine['servers']['postgres']}. "
        "Client, load and servers share the machine. Medians of interleaved rounds; lowest and "
        "highest are of the rounds.\n"
    )
    yield "## What must be shown\n"
    yield "| what | bound | measured | |\n|---|---|---|---|"
    for target in judged(rows):
        sign = "≥" if target["at least"] else "≤"
        verdict = "yes" if target["holds"] else "**no**"
        figures = f"{sign} {target['bound']:g} | {target['measured']:.2f}"
        yield f"| {target['what']} | {figures} | {verdict} |"
    for question in dict.fromkeys(row["question"] for row in rows):
        yield from _table(question, [row for row in rows if row["question"] == question])
    yield "\n## What the others do\n"
    yield from (f"- **{name}**: {what}." for name, what in PEERS.items())


def _table(question: str, rows: list[Row]) -> Iterable[str]:
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    yield f"\n## {question.capitalize()}\n"
    yield f"| {' | '.join(COLUMNS[name] for name in names)} |"
    yield f"|{'---|' * len(names)}"
    for row in rows:
        yield f"| {' | '.join(_cell(row.get(name)) for name in names)} |"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
