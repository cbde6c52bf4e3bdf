"""The ledger read as runs, each with its window, and as harms that may have struck there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

Line = dict[str, Any]

# What ends a window: the store's answer, or the end of a handler that lost its lease.
_CLOSINGS = ("completed", "refused", "cut off")
_SPANS = {
    "frozen": ("freeze", "thawed"),
    "outage": ("outage", "healed"),
    "full": ("full", "emptied"),
}


@dataclass(slots=True)
class Run:
    """One run that had its effect.

    Attributes:
        event: Id of the event.
        pid: The process that ran it.
        effect: When it had its effect.
        until: When the worker knew what became of its claim, or died.
    """

    event: str
    pid: int
    effect: float
    until: float = inf


@dataclass(frozen=True, slots=True)
class Harm:
    """One thing that was done.

    Attributes:
        kind: ``"kill"``, ``"freeze"``, ``"outage"`` or ``"full"``.
        begin: When it began.
        end: When it was over.
        pid: The process it was done to; all of them where there is none.
        point: The named point of a kill.
    """

    kind: str
    begin: float
    end: float
    pid: int | None = None
    point: str = ""

    def doubles(self, lease: float) -> bool:
        """Whether it can make an event run again: a kill, or whatever is a lease long."""
        return self.kind == "kill" or self.end - self.begin >= lease

    def strikes(self, run: Run) -> bool:
        """Whether it fell into the window of a run."""
        return self.pid in {None, run.pid} and self.begin <= run.until and run.effect <= self.end


def runs_of(lines: Sequence[Line]) -> list[Run]:
    """The runs with an effect, in the order of their effects."""
    runs: list[Run] = []
    deaths = {line["pid"]: line["at"] for line in lines if line["what"] == "kill"}
    open_runs: dict[tuple[int, str], Run] = {}
    for line in lines:
        if line["what"] == "effect":
            run = Run(line["id"], line["pid"], line["at"])
            open_runs[run.pid, run.event] = run
            runs.append(run)
        elif line["what"] in _CLOSINGS:
            closed = open_runs.pop((line["pid"], line["id"]), None)
            if closed is not None:
                closed.until = line["at"]
    for run in open_runs.values():
        run.until = max(run.effect, deaths.get(run.pid, inf))
    return sorted(runs, key=lambda run: run.effect)


def harms_of(lines: Iterable[Line]) -> list[Harm]:
    """All that was done, in the order in which it began."""
    return sorted(_harms(list(lines)), key=lambda harm: harm.begin)


def _harms(lines: list[Line]) -> Iterator[Harm]:
    for line in lines:
        if line["what"] == "kill":
            # Without an end: the note is made a moment before the signal strikes.
            yield Harm("kill", line["at"], inf, line["pid"], line["point"])
    for begin, (kind, end) in _SPANS.items():
        for opening in (line for line in lines if line["what"] == begin):
            pid = opening["pid"] if kind == "freeze" else None
            yield Harm(kind, opening["at"], _next(lines, end, opening["at"], pid), pid)


def _next(lines: Iterable[Line], what: str, after: float, pid: int | None) -> float:
    times = (
        line["at"]
        for line in lines
        if line["what"] == what and line["at"] >= after and pid in {None, line["pid"]}
    )
    return next(times, inf)
