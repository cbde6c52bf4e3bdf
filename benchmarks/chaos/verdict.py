"""The count: what was acknowledged and never run, what ran twice, and which of that was promised.

The rule for second runs. A run lasts from its ``began`` line to its last line in the ledger. It is
*harmed* when, before its claim was complete,

- its process was killed, or
- its process was frozen, or
- the store was away for longer than its lease may have had left: a lease is renewed when a third
  of it has passed, so two thirds of a lease are enough.

For every harmed run one more run of the same event is allowed, and no other. ``unexplained`` counts
the effects beyond that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from math import inf
from typing import Any

Line = dict[str, Any]
Span = tuple[float, float]


@dataclass
class Run:
    """One run of an event by one process."""

    event: str
    pid: int
    began: float
    last: float
    effects: int = 0
    completed: bool = False


@dataclass
class Verdict:
    """What is printed, written and judged.

    Attributes:
        acknowledged: Events that got a 200.
        run: Events whose effect happened.
        lost: Events that were acknowledged and never run.
        doubled: Effects beyond the first of each event.
        allowed: Second runs the promises allow: one for each harmed run with an effect.
        causes: The same by what harmed the run; a kill harms all runs of its process.
        unexplained: Ids of events with more effects than that.
        kills: Kills by the point at which they struck.
        freezes, outages: How many there were.
        long_outages: Those that were long enough to end a lease.
    """

    acknowledged: int
    run: int
    lost: list[str]
    doubled: int
    allowed: int
    causes: dict[str, int]
    unexplained: list[str]
    kills: dict[str, int]
    freezes: int
    outages: int
    long_outages: int
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return not self.lost and not self.unexplained and self.doubled <= self.allowed

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "holds": self.holds}

    def table(self) -> str:
        rows: dict[str, Any] = {
            "acknowledged": self.acknowledged,
            "run": self.run,
            "lost": len(self.lost),
            "doubled": f"{self.doubled} (allowed {self.allowed})",
            **{f"  allowed by {cause}": count for cause, count in sorted(self.causes.items())},
            "unexplained": len(self.unexplained),
            "kills": sum(self.kills.values()),
            **{f"  {point}": count for point, count in sorted(self.kills.items())},
            "freezes": self.freezes,
            "outages": f"{self.outages} ({self.long_outages} could end a lease)",
            **self.notes,
        }
        return "\n".join(f"  {name:<46} {value}" for name, value in rows.items())


def judge(lines: list[Line], acknowledged: Collection[str], lease: float) -> Verdict:
    """Count a ledger."""
    effects = Counter(line["id"] for line in lines if line["what"] == "effect")
    kills = [line for line in lines if line["what"] == "kill"]
    frozen = _frozen(lines)
    outages = list(_spans(lines, "outage", "healed"))
    long = [span for span in outages if span[1] - span[0] >= lease * 2 / 3]
    dead = {line["pid"] for line in kills}
    harmed = {
        "kill": lambda run: run.pid in dead and not run.completed,
        "freeze": lambda run: _met(run, frozen[run.pid]),
        "outage": lambda run: _met(run, long),
    }
    causes, excused = Counter(), Counter()
    for run in _runs(lines):
        cause = next((name for name, struck in harmed.items() if struck(run)), None)
        if cause is not None:
            causes[cause] += run.effects
            excused[run.event] += 1
    return Verdict(
        acknowledged=len(acknowledged),
        run=len(effects),
        lost=sorted(set(acknowledged) - effects.keys()),
        doubled=sum(count - 1 for count in effects.values()),
        allowed=causes.total(),
        causes=dict(causes),
        unexplained=sorted(e for e, count in effects.items() if count - 1 > excused[e]),
        kills=dict(Counter(line["point"] for line in kills)),
        freezes=sum(map(len, frozen.values())),
        outages=len(outages),
        long_outages=len(long),
    )


def _frozen(lines: list[Line]) -> dict[int, list[Span]]:
    frozen: dict[int, list[Span]] = defaultdict(list)
    for pid in {line["pid"] for line in lines if line["what"] == "frozen"}:
        own = [line for line in lines if line["pid"] == pid]
        frozen[pid] = list(_spans(own, "frozen", "thawed"))
    return frozen


def _runs(lines: Iterable[Line]) -> list[Run]:
    runs: list[Run] = []
    latest: dict[tuple[int, str], Run] = {}
    for line in lines:
        if line["what"] == "began":
            run = Run(line["id"], line["pid"], line["at"], line["at"])
            latest[run.pid, run.event] = run
            runs.append(run)
        elif line["what"] in {"effect", "ended", "completed", "refused"}:
            run = latest[line["pid"], line["id"]]
            run.last = line["at"]
            run.effects += line["what"] == "effect"
            run.completed |= line["what"] == "completed"
    return runs


def _spans(lines: Iterable[Line], begin: str, end: str) -> Iterable[Span]:
    began: float | None = None
    for line in lines:
        if line["what"] == begin:
            began = line["at"]
        elif line["what"] == end and began is not None:
            yield began, line["at"]
            began = None
    if began is not None:
        yield began, inf


def _met(run: Run, spans: Iterable[Span]) -> bool:
    return any(begin <= run.last and run.began <= end for begin, end in spans)
