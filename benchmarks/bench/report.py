"""A run as Markdown for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .lab import Row
from .peers import PEERS
from .results import Results
from .targets import judged

COLUMNS = {
    "who": "who", "tasks": "tasks", "share": "duplicates", "keys": "keys", "purging": "purging",
    "rate": "per second", "lowest": "lowest", "highest": "highest", "client_us": "client CPU µs",
    "worst_us": "worst batch µs",
    "server_us": "server CPU µs", "lowest_us": "lowest", "highest_us": "highest",
    "p50_ms": "p50 ms", "p99_ms": "p99 ms", "lag_p99_ms": "loop lag p99 ms",
    "bytes": "bytes", "stated": "stated", "measured": "measured",
    "dropped per million": "dropped per million", "bits": "bits a key", "ratio": "of theory",
    "purged": "purged", "seconds": "seconds", "claims": "claims", "missed": "run twice",
    "skipped": "lost", "forgotten": "forgotten", "stuck": "stuck",
}  # fmt: skip


def report(folder: Path, results: Results) -> None:
    """Write ``results.md``."""
    (folder / "results.md").write_text("\n".join(_sections(results)) + "\n")


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> Iterable[str]:
    """Yield the lines of a Markdown table."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    yield from (f"| {' | '.join(line)} |" for line in lines)


def _sections(results: Results) -> Iterable[str]:
    machine = results.machine
    yield "# Benchmark results\n"
    yield (
        f"{machine['cores']} cores of {machine['cpu']}, Python {machine['python']}, "
        f"Redis {machine['servers']['redis']}, PostgreSQL {machine['servers']['postgres']}. "
        "Client, load and servers share the machine. Medians of interleaved rounds; lowest and "
        "highest are of the rounds.\n"
    )
    yield "## What must be shown\n"
    yield (
        "Ratios of the medians of one run. Beside those of rates stand those of CPU time, client "
        "and server together, which other work on the machine disturbs less.\n"
    )
    heads = ("what", "bound", "measured", "by CPU time", "")
    yield from table(heads, map(_verdict, judged(results.rows)))
    yield "\n## When\n"
    yield from table(("question", "asked", "seconds", "load before and after"), _times(results))
    rows = results.rows
    for question in dict.fromkeys(row["question"] for row in rows):
        yield from _figures(question, [row for row in rows if row["question"] == question])
    yield "\n## What the others do\n"
    lines = ((name, peer.does, peer.lacks) for name, peer in PEERS.items())
    yield from table(("who", "does", "does not"), lines)


def _verdict(target: dict[str, Any]) -> tuple[str, ...]:
    sign, by_cpu = "≥" if target["at least"] else "≤", target["by CPU time"]
    verdict = "by CPU time" if target["holds by CPU time"] else "**no**"
    return (
        target["what"],
        f"{sign} {target['bound']:g}",
        f"{target['measured']:.2f}",
        "" if by_cpu is None else f"{by_cpu:.2f}",
        "yes" if target["holds"] else verdict,
    )


def _times(results: Results) -> Iterable[tuple[str, ...]]:
    for name, answer in results.answers.items():
        before, after = answer.load
        yield name, answer.at, f"{answer.seconds:.0f}", f"{before:.1f}, {after:.1f}"


def _figures(question: str, rows: list[Row]) -> Iterable[str]:
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    yield f"\n## {question.capitalize()}\n"
    cells = ([_cell(row.get(name)) for name in names] for row in rows)
    yield from table([COLUMNS[name] for name in names], cells)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
