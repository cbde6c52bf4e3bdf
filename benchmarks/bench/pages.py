"""The pages that quote figures, written from the results: ``docs/scaling.md`` and the README.

``python -m benchmarks.bench.pages`` writes them again from the results that are kept.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .lab import Row
from .ours import OURS
from .report import table
from .results import KEPT, Results
from .targets import one

__all__ = ["readme", "scaling", "write"]

ROOT = Path(__file__).parents[2]
SCALING = ROOT / "docs" / "scaling.md"
README = ROOT / "README.md"
TEMPLATE = Path(__file__).with_name("scaling.md")
QUOTED = re.compile(
    r"(<!-- benchmarks: begin \(make bench-full\) -->\n).*?(<!-- benchmarks: end -->)", re.DOTALL
)

WIDTH = 120
DAY = 86_400
PEAK = 5
TTL_DAYS = 2
DAILY = (10**6, 10**7, 10**8, 10**9)
BLOOM_RATE = 1e-4
LARGE_REDIS = 64e9
MACHINE_DISK = 1e12
CORES = 8
SHARE_USED = 0.5
LOG_A_LIFE = (
    3_300  # bytes, by pg_stat_statements: put 2,000, claim 480, begin 140, complete 480, done 140
)
EXPONENTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
DURABLE = {"redis": "redis, appendfsync always", "postgres": "postgres", "sqlite": "sqlite"}
PLACES = ("redis", "postgres", "sqlite", "memory", "bloom")


class Figures:
    """What the pages quote of a run."""

    def __init__(self, results: Results) -> None:
        self.machine = results.machine
        self.rows = results.rows
        self.when = max(answer.at for answer in results.answers.values())

    def bytes(self, place: str) -> float:
        """Bytes for a done key, where the most are stored."""
        return one(self.rows, "bytes", "bytes per key", f"{OURS} {place}", keys=self._most(place))

    def pair(self, name: str, place: str) -> Any:
        """A figure of claim and completion."""
        return one(self.rows, name, "claim + complete", f"{OURS} {place}")

    def lives(self, name: str, place: str) -> Any:
        """A figure of whole durable lives."""
        return one(self.rows, name, "whole life", f"{OURS} {DURABLE[place]}")

    def logged(self, place: str) -> float:
        """Bytes that one whole life writes to the server's log."""
        return one(self.rows, "bytes", "log of a life", f"{OURS} {place}")

    def growth(self, place: str) -> tuple[int, int, float]:
        """The fewest and the most keys, and how much more a claim costs with the most."""
        mine = self._rows("growth", place)
        cost = {row["keys"]: row["client_us"] + (row["server_us"] or 0.0) for row in mine}
        return min(cost), max(cost), cost[max(cost)] / cost[min(cost)]

    def bloom_share(self) -> float:
        """The highest share of the stated rate that was measured."""
        return max(row["measured"] / row["stated"] for row in self._rows("bloom", "bloom"))

    def _most(self, place: str) -> int:
        return max(row["keys"] for row in self._rows("bytes per key", place))

    def _rows(self, question: str, place: str) -> list[Row]:
        who = f"{OURS} {place}"
        return [row for row in self.rows if row["question"] == question and row["who"] == who]


def write(results: Results) -> None:
    """Write both pages."""
    SCALING.write_text(scaling(results))
    README.write_text(readme(results, README.read_text()))


def scaling(results: Results) -> str:
    """Return ``docs/scaling.md``."""
    figures = Figures(results)
    machine = figures.machine
    least, most, redis_growth = figures.growth("redis")
    values = {
        "when": figures.when,
        "cores": machine["cores"],
        "cpu": machine["cpu"],
        "python": machine["python"],
        **machine["servers"],
        "costs": _lines(_costs(figures)),
        "peak": PEAK,
        "loads": _lines(_loads(figures)),
        "wal": f"{figures.logged('postgres') / 1000:.1f}",
        "aof": f"{figures.logged('redis') / 1000:.1f}",
        "bloom_share": f"{100 * figures.bloom_share():.0f}",
        "topologies": _lines(_topologies(figures)),
        "redis_room": _size(LARGE_REDIS),
        "postgres_room": _size(MACHINE_DISK),
        "least_keys": _power(least),
        "most_keys": _power(most),
        "redis_growth": f"{redis_growth:.1f}",
        "postgres_growth": f"{figures.growth('postgres')[2]:.1f}",
        "cluster_client": _round(one(figures.rows, "client_us", "cluster", CLUSTER)),
        "single_client": _round(
            one(figures.rows, "client_us", "claims", f"{OURS} redis", tasks=64)
        ),
        "cluster": _lines(_cluster(figures)),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda name: str(values[name[1]]), TEMPLATE.read_text())


CLUSTER = f"{OURS} redis cluster of 3"


def _costs(figures: Figures) -> Iterable[str]:
    lines = [
        ["bytes a done key, with its index", *(_round(figures.bytes(each)) for each in PLACES)],
        ["statements or commands an event", "2", "2", "2", "none", "none"],
        ["the same with a durable inbox", "5", "5", "5", "-", "-"],
        ["CPU of the server, claim + complete, batches of 64, µs",
         *(_round(figures.pair("server_us", each)) for each in PLACES)],
        ["CPU of the client, the same, µs",
         *(_round(figures.pair("client_us", each)) for each in PLACES)],
        ["whole durable lives a second, one process",
         *(_round(figures.lives("rate", each)) if each in DURABLE else "-" for each in PLACES)],
    ]  # fmt: skip
    return table(("", "Redis", "Postgres", "SQLite", "memory", "Bloom, 1e-4"), lines)


def _loads(figures: Figures) -> Iterable[str]:
    heads = (
        "events a day", "at the peak", "remembered", "Redis memory", "Postgres disk",
        "Postgres log a day",
        "Bloom, 1e-4", "dropped by Bloom a day",
    )  # fmt: skip
    return table(heads, ([*_load(figures, daily)] for daily in DAILY))


def _load(figures: Figures, daily: int) -> Iterable[str]:
    remembered = daily * TTL_DAYS
    yield _power(daily)
    yield f"{_round(_at_peak(daily))}/s"
    yield f"{TTL_DAYS} × {_power(daily)}"  # noqa: RUF001 - between factors
    yield _size(remembered * figures.bytes("redis"))
    yield _size(remembered * figures.bytes("postgres"))
    yield _size(daily * figures.logged("postgres"))
    yield _size(remembered * figures.bytes("bloom"))
    yield f"at most {daily * BLOOM_RATE:,.0f}"


def _topologies(figures: Figures) -> Iterable[str]:
    heads = (
        "events a day", "at the peak", "SQLite", f"Postgres of {CORES} cores",
        "Redis with its inbox", "Redis, claims alone",
    )  # fmt: skip
    return table(heads, ([*_topology(figures, daily)] for daily in DAILY))


def _topology(figures: Figures, daily: int) -> Iterable[str]:
    peak, remembered = _at_peak(daily), daily * TTL_DAYS
    yield _power(daily)
    yield f"{_round(peak)}/s"
    one_writer = peak <= SHARE_USED * figures.lives("rate", "sqlite")
    yield "one file, one machine" if one_writer else "too much for one writer"
    machines = max(
        _needed(peak, _carried(figures.lives("server_us", "postgres")) * CORES),
        _needed(remembered * figures.bytes("postgres"), MACHINE_DISK),
    )
    yield "one server" if machines == 1 else f"{machines} servers by key"
    memory = _needed(remembered * figures.bytes("redis"), LARGE_REDIS)
    servers = max(memory, _needed(peak, _carried(figures.lives("server_us", "redis"))))
    yield "one server" if servers == 1 else f"{servers} servers by source"
    nodes = max(memory, _needed(peak, _carried(figures.pair("server_us", "redis"))))
    yield "one server" if nodes == 1 else f"a Cluster of {max(3, nodes)}"


def _carried(microseconds: float) -> float:
    """How many a second one core carries."""
    return SHARE_USED * 1e6 / microseconds


def _cluster(figures: Figures) -> Iterable[str]:
    race = {name: one(figures.rows, name, "race", CLUSTER) for name in ("keys", "claims")}
    twice, lost = (one(figures.rows, name, "race", CLUSTER) for name in ("missed", "skipped"))
    lines = [
        ("claims a second, one process, 64 tasks",
         _round(one(figures.rows, "rate", "cluster", CLUSTER))),
        (f"a race of 4 processes for {race['keys']:,} keys, in overlapping batches",
         f"{race['claims']:,} claims, {twice} granted twice, {lost} lost"),
    ]  # fmt: skip
    return table(("", ""), lines)


def readme(results: Results, text: str) -> str:
    """Return the README with its section on speed written anew."""
    section = "\n".join(_section(Figures(results)))
    return QUOTED.sub(lambda marks: marks[1] + section + marks[2], text)


def _section(figures: Figures) -> Iterable[str]:
    rates = {place: figures.pair("rate", place) for place in PLACES}
    yield "![How many new keys can be claimed a second?](benchmarks/results/claims.png)\n"
    yield "![How soon is a sender answered?](benchmarks/results/latency.png)\n"
    said = (
        "Claimed and completed a second by one process with 64 tasks: "
        f"Redis {_round(rates['redis'])}, Postgres {_round(rates['postgres'])}, SQLite "
        f"{_round(rates['sqlite'])}; whole durable lives of an event on Postgres: "
        f"{_round(figures.lives('rate', 'postgres'))} a second. All of it on "
        f"{figures.machine['cores']} cores that servers and load shared. Every number, its spread "
        "and what others do beside it are in [benchmarks/results](benchmarks/results/results.md), "
        "made by `make bench-full`, from which [scaling out](docs/scaling.md) is computed."
    )
    yield textwrap.fill(said, WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _at_peak(daily: int) -> float:
    return PEAK * daily / DAY


def _needed(load: float, each: float) -> int:
    return max(1, math.ceil(load / each))


def _power(number: int) -> str:
    """Write a power of ten as one, another number in full."""
    exponent = round(math.log10(number))
    return f"10{str(exponent).translate(EXPONENTS)}" if 10**exponent == number else f"{number:,}"


def _round(value: Any) -> str:
    """Write two or three figures that mean something."""
    if value is None:
        return "in the process"
    if value < 1000:
        return f"{value:.2g}" if value < 10 else f"{value:.0f}"
    digits = 2 - math.floor(math.log10(value)) - 1
    return f"{round(value, digits):,.0f}"


def _size(count: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.2g} {unit}" if count < 10 else f"{count:.0f} {unit}"
        count /= 1000
    raise AssertionError


if __name__ == "__main__":
    write(Results.read(KEPT))
