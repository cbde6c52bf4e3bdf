"""What must be shown, computed from the rows of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from .lab import Row
from .ours import OURS

MISSING = float("nan")
Ratio = Callable[[list[Row]], float]


@dataclass(frozen=True)
class Target:
    """One promise.

    Attributes:
        what: In words.
        bound: The limit.
        at_least: Whether the figure must be at least the bound, or at most.
        figure: Computes it.
        by_cpu: Computes the same of CPU time, client's and server's, which is what counts where
            other work disturbs the rates.
    """

    what: str
    bound: float
    at_least: bool
    figure: Ratio
    by_cpu: Ratio | None = None

    def holds(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


def one(rows: list[Row], name: str, question: str, who: str, **about: object) -> float:
    """Return a figure of the one row that is meant."""
    wanted = {"question": question, "who": who, **about}
    found = [row[name] for row in rows if wanted.items() <= row.items()]
    return found[0] if found else MISSING


def _rates(question: str, who: str, other: str, **about: object) -> Ratio:
    def ratio(rows: list[Row]) -> float:
        mine = one(rows, "rate", question, f"{OURS} {who}", **about)
        return mine / one(rows, "rate", question, other, **about)

    return ratio


def _compared(question: str, who: str, other: str, **about: object) -> tuple[Ratio, Ratio]:
    return _rates(question, who, other, **about), _cpu(question, who, other, **about)


def _cpu(question: str, who: str, other: str, **about: object) -> Ratio:
    def spent(rows: list[Row], name: str) -> float:
        client = one(rows, "client_us", question, name, **about)
        return client + (one(rows, "server_us", question, name, **about) or 0.0)

    return lambda rows: spent(rows, other) / spent(rows, f"{OURS} {who}")


def _http(name: str, who: str, other: str) -> Ratio:
    return lambda rows: one(rows, name, "http", who) / one(rows, name, "http", other)


def _own(rows: list[Row]) -> float:
    """The CPU our middleware adds, against what asgi-idempotency-header adds."""
    bare = one(rows, "server_us", "http", "bare Starlette")
    peer = one(rows, "server_us", "http", "asgi-idempotency-header")
    return (peer - bare) / (one(rows, "server_us", "http", "claimed, volatile") - bare)


def _growth(store: str) -> Ratio:
    def ratio(rows: list[Row]) -> float:
        mine = [r for r in rows if r["question"] == "growth" and r["who"] == f"{OURS} {store}"]
        if not mine:
            return MISSING
        cost = {row["keys"]: row["client_us"] + row["server_us"] for row in mine}
        return cost[max(cost)] / cost[min(cost)]

    return ratio


def _most_bits(rows: list[Row]) -> float:
    return max((row["ratio"] for row in rows if row["question"] == "bloom"), default=MISSING)


def _false_positives(rows: list[Row]) -> float:
    shares = [row["measured"] / row["stated"] for row in rows if row["question"] == "bloom"]
    return median(shares) if shares else MISSING


def _latency_alone(rows: list[Row]) -> float:
    mine = one(rows, "p50_ms", "claims", f"{OURS} redis", tasks=1)
    return mine / one(rows, "p50_ms", "claims", "redis-py SET NX", tasks=1)


def _cached(rows: list[Row]) -> float:
    mine = one(rows, "rate", "duplicates", f"{OURS} redis, seen-cache", share=0.9)
    return mine / one(rows, "rate", "duplicates", f"{OURS} redis", share=0.9)


TARGETS = (
    Target("Redis claims/s against redis-py SET NX one by one", 4, True,
           *_compared("claims", "redis", "redis-py SET NX", tasks=64)),
    Target("Redis claim latency at 1 task against redis-py", 1.15, False, _latency_alone),
    Target("Postgres claims/s against an asyncpg pool", 5, True,
           *_compared("claims", "postgres", "asyncpg pool", tasks=64)),
    Target("Postgres claims/s against SQLAlchemy", 12, True,
           *_compared("claims", "postgres", "SQLAlchemy pool", tasks=64)),
    Target("SQLite claims/s against aiosqlite", 4, True,
           *_compared("claims", "sqlite", "aiosqlite", tasks=64)),
    Target("claim + complete against idemkit, Redis", 5, True,
           *_compared("claim + complete", "redis", "idemkit redis")),
    Target("claim + complete against idemkit, Postgres", 8, True,
           *_compared("claim + complete", "postgres", "idemkit postgres")),
    Target("whole durable life on Postgres against a DBOS workflow", 20, True,
           *_compared("whole life", "postgres", "DBOS workflow, postgres")),
    Target("HTTP server CPU, claimed, no inbox, against bare Starlette", 2.0, False,
           _http("server_us", "claimed, volatile", "bare Starlette")),
    Target("HTTP server CPU, claimed, durable Redis inbox, against bare Starlette", 2.6, False,
           _http("server_us", "claimed, durable", "bare Starlette")),
    Target("HTTP acknowledgement p99, first, durable, against bare Starlette", 3, False,
           _http("p99_ms", "first, durable", "bare Starlette")),
    Target("HTTP CPU added, against asgi-idempotency-header", 8, True, _own),
    Target("90 % duplicates, Redis, with the seen-cache against without", 2, True, _cached),
    Target("memory, microseconds a new key in a batch of 64", 10, False,
           lambda rows: one(rows, "client_us", "memory batch", f"{OURS} memory")),
    Target("Bloom, bits a live key against theory", 2.2, False, _most_bits),
    Target("Bloom, false positives measured against stated", 1, False, _false_positives),
    Target("Redis, cost of a claim at the most keys against the fewest", 1.5, False,
           _growth("redis")),
    Target("Postgres, cost of a claim at the most keys against the fewest", 1.5, False,
           _growth("postgres")),
    Target("event-loop lag p99, first, against bare Starlette", 2, False,
           _http("lag_p99_ms", "first, durable", "bare Starlette")),
    Target("event-loop lag p99, claimed, against bare Starlette", 2, False,
           _http("lag_p99_ms", "claimed, durable", "bare Starlette")),
)  # fmt: skip


def judged(rows: list[Row]) -> list[dict[str, Any]]:
    """Every target with what was measured; those whose question was not asked are left out."""
    return [
        {
            "what": target.what,
            "bound": target.bound,
            "at least": target.at_least,
            "measured": value,
            "by CPU time": by_cpu,
            "holds": target.holds(value),
            "holds by CPU time": by_cpu is not None and target.holds(by_cpu),
        }
        for target, value, by_cpu in _measured(rows)
    ]


def _measured(rows: list[Row]) -> Iterable[tuple[Target, float, float | None]]:
    for target in TARGETS:
        value = target.figure(rows)
        if not math.isnan(value):
            yield target, value, target.by_cpu(rows) if target.by_cpu else None
