"""The count: what was acknowledged and never run, what ran twice, and whether that was promised.

An event is *lost* when it got a 200 and never had an effect. It is *doubled* once for each effect
beyond its first.

The rule for doubled events. The *window* of a run reaches from its effect to the moment its worker
knew what had become of its claim: the store confirmed ``complete`` or refused it, or the handler
was cut off because the lease was lost. A worker that dies first never knows: its window ends with
it. A harm *falls into* a window when it is

- the kill of that process at any time in the window, or
- a freeze of that process, of a lease or longer, that overlaps the window, or
- a time of a lease or longer in which the store was away or its disk was full, and which overlaps
  the window.

A later effect of an event is *explained* only if a harm that began before it fell into the window
of each earlier one; otherwise it is *unexplained*, and one of these is enough to break the promise.
Kills before an effect or after ``complete``, harm to other processes, and shorter freezes and
outages explain nothing.

One kill may double several events: a process runs many handlers at once, and all that have had
their effect and are not complete are cut off together. An outage strikes every process at that.
So the bound for doubled events is the number of *pairs*, of a harm and a window it fell into, and
doubled ≤ pairs follows from the rule. Where each process runs one handler at a time
(``--concurrency 1``), the sentence is judged in its plain words as well: doubled events are no more
than the kills, freezes and lease-long outages.

Where the effect is written in a transaction with its claim (``--effect transaction``), rows are
counted in place of ledger lines, nothing explains a doubled one, and the windows are told only for
comparison: what would have been doubled had the claim not been there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .windows import Harm, Line, Run, harms_of, runs_of

_NAMES = {"kill": "kills", "freeze": "freezes", "outage": "outages", "full": "full disks"}
_LITERALLY = "doubled <= kills, freezes and lease-long outages"


@dataclass(frozen=True)
class Rules:
    """By what is judged.

    Attributes:
        lease: Seconds of a claim's lease.
        concurrency: Handlers a process runs at once.
        rows: How many rows each event has, where effects are in transactions.
    """

    lease: float
    concurrency: int = 0
    rows: Mapping[str, int] | None = None


@dataclass
class Verdict:
    """What is printed, written and judged.

    Attributes:
        acknowledged: Events that got a 200.
        run: Events that had an effect.
        lost: Ids of events that were acknowledged and never had an effect.
        doubled: Effects beyond the first of each event.
        explained: Those that the rule explains.
        unexplained: Ids of events, one for each effect that it does not explain.
        harms: How many there were of each kind.
        lasting: Those that can make an event run again.
        struck: Those of them that fell into a window.
        pairs: How often one fell into a window.
        points: Kills by the point at which they struck.
        literally: Whether doubled ≤ kills + freezes + lease-long outages, where that is judged.
    """

    acknowledged: int
    run: int
    lost: list[str]
    doubled: int
    explained: int
    unexplained: list[str]
    harms: dict[str, int]
    lasting: dict[str, int]
    struck: dict[str, int]
    pairs: dict[str, int]
    points: dict[str, int]
    literally: bool | None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        shown = self.acknowledged > 0  # nothing is lost of nothing
        return shown and not self.lost and not self.unexplained and self.literally is not False

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "holds": self.holds}

    def table(self) -> str:
        rows: dict[str, Any] = {
            "acknowledged": self.acknowledged,
            "run": self.run,
            "lost": len(self.lost),
            "doubled": self.doubled,
            "  explained": self.explained,
            "  unexplained": len(self.unexplained),
            "  pairs of a harm and a window": sum(self.pairs.values()),
            **{name: self._told(kind) for kind, name in _NAMES.items() if kind in self.harms},
            **{f"  killed {point}": count for point, count in sorted(self.points.items())},
            **({} if self.literally is None else {_LITERALLY: self.literally}),
            **self.notes,
        }
        return "\n".join(f"  {name:<52} {value}" for name, value in rows.items())

    def _told(self, kind: str) -> str:
        counts = (self.harms[kind], self.lasting[kind], self.struck[kind], self.pairs[kind])
        told = "{0}, {2} of them in {3} windows"
        if kind != "kill":
            told = "{0}, {1} of a lease or longer, {2} of them in {3} windows"
        return told.format(*counts)


def judge(lines: Sequence[Line], acknowledged: Collection[str], rules: Rules) -> Verdict:
    """Count a ledger."""
    runs, harms = runs_of(lines), harms_of(lines)
    lasting = [harm for harm in harms if harm.doubles(rules.lease)]
    struck = [(harm, sum(map(harm.strikes, runs))) for harm in lasting]
    unexplained = _unexplained(runs, lasting)
    effects = Counter(run.event for run in runs)
    if rules.rows is not None:
        effects = Counter(rules.rows)
        unexplained = [event for event, count in effects.items() for _ in range(count - 1)]
    doubled = effects.total() - len(effects)
    kinds = sorted({harm.kind for harm in harms})
    return Verdict(
        acknowledged=len(acknowledged),
        run=len(effects),
        lost=sorted(set(acknowledged) - effects.keys()),
        doubled=doubled,
        explained=doubled - len(unexplained),
        unexplained=sorted(unexplained),
        harms={kind: sum(harm.kind == kind for harm in harms) for kind in kinds},
        lasting={kind: sum(harm.kind == kind for harm in lasting) for kind in kinds},
        struck={kind: sum(h.kind == kind and hits > 0 for h, hits in struck) for kind in kinds},
        pairs={kind: sum(hits for h, hits in struck if h.kind == kind) for kind in kinds},
        points=dict(Counter(harm.point for harm in harms if harm.kind == "kill")),
        literally=doubled <= len(lasting) if rules.concurrency == 1 else None,
    )


def _unexplained(runs: Sequence[Run], harms: Sequence[Harm]) -> list[str]:
    """Name the event of each effect with an earlier one into whose window nothing fell."""
    by_event: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_event[run.event].append(run)
    return [
        later.event
        for same in by_event.values()
        for number, later in enumerate(same)
        if not all(_was_struck(earlier, later.effect, harms) for earlier in same[:number])
    ]


def _was_struck(run: Run, before: float, harms: Sequence[Harm]) -> bool:
    return any(harm.begin <= before and harm.strikes(run) for harm in harms)
