"""Plots a person can read, as SVG and PNG."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from .http import CURVE, SHARES
from .http_app import FROZEN
from .lab import Row
from .labels import spread
from .ours import OURS

mpl.use("Agg")
import matplotlib.pyplot as plt  # the back end must be chosen first
from matplotlib.ticker import FuncFormatter

# Okabe and Ito's colours, which people who confuse red and green tell apart: one for each place.
COLOURS = {
    "redis": "#D55E00", "postgres": "#0072B2", "sqlite": "#009E73", "memory": "#CC79A7",
    "bloom": "#E69F00",
}  # fmt: skip
BY_HAND = {
    "redis-py SET NX": "redis", "asyncpg pool": "postgres", "SQLAlchemy pool": "postgres",
    "aiosqlite": "sqlite",
}  # fmt: skip
WAYS = {
    "bare ASGI": "#999999", "bare Starlette": "#000000", "claimed, volatile": "#E69F00",
    "claimed, durable": "#D55E00", "first, durable": "#0072B2", "handled, durable": "#009E73",
    "asgi-idempotency-header": "#CC79A7", "by hand, redis-py": "#56B4E9",
    "by hand, the least": "#56B4E9",
}  # fmt: skip
Label = tuple[float, str, str]


def draw(folder: Path, rows: list[Row]) -> None:
    plots: dict[str, tuple[str, Callable[[Any, list[Row]], None]]] = {
        "claims": ("claims", _throughput),
        "latency": ("http", _latency),
        "bytes": ("bytes per key", _bytes),
        "growth": ("growth", _growth),
    }
    mpl.rcParams.update({"svg.hashsalt": "webhook_dedup", "font.size": 10})
    for name, (question, plot) in plots.items():
        asked = [row for row in rows if row["question"] == question]
        if asked:
            figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
            axes.spines[["top", "right"]].set_visible(False)
            plot(axes, asked)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            figure.savefig(folder / f"{name}.png", dpi=120)
            plt.close(figure)


def _throughput(axes: Any, rows: list[Row]) -> None:
    axes.set(xscale="log", yscale="log", xlabel="tasks that claim at the same time")
    axes.set_ylabel("claims per second (log)")
    axes.set_title("How many new keys can be claimed a second?", loc="left", weight="bold")
    labels = []
    for who, mine in _by_who(rows):
        place = BY_HAND.get(who, who.removeprefix(f"{OURS} "))
        dashed = {"linestyle": "--", "marker": "s"} if who in BY_HAND else {"marker": "o"}
        rates = [row["rate"] for row in mine]
        axes.plot([row["tasks"] for row in mine], rates, color=COLOURS[place], **dashed)
        name = f"{who} (by hand)" if who in BY_HAND else place
        labels.append((rates[-1], name, COLOURS[place]))
    _ticks(axes, sorted({row["tasks"] for row in rows}))
    _label_ends(axes, labels, max(row["tasks"] for row in rows))
    axes.text(
        0.0, -0.17, "solid: webhook_dedup · dashed: the same store, one statement a claim",
        transform=axes.transAxes, color="#555555",
    )  # fmt: skip


def _latency(axes: Any, rows: list[Row]) -> None:
    axes.set(xscale="log", xlabel="milliseconds to the answer (log), 64 connections")
    axes.set_ylabel("share of the requests answered by then")
    axes.set_title("How soon is a sender answered?", loc="left", weight="bold")
    places = [-i for i in range(len(SHARES))]
    for row in sorted(rows, key=lambda row: row["p50_ms"]):
        who = row["who"].removesuffix(FROZEN)
        least = who.startswith("bare") or who.endswith("the least")
        style = ":" if who != row["who"] else "--" if least else "-"
        label = f"{row['who']}: {row['p50_ms']:.1f} / {row['p99_ms']:.1f} ms"
        heights = [-place for place in places]
        axes.plot(row[CURVE], heights, style, color=WAYS[who], label=label, linewidth=2)
    axes.set_yticks([-place for place in places], [f"{100 * share:g} %" for share in SHARES])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(alpha=0.25)
    axes.legend(title="median / 99 %", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _bytes(axes: Any, rows: list[Row]) -> None:
    largest = max(row["keys"] for row in rows)
    shown = sorted((row for row in rows if row["keys"] == largest), key=lambda row: row["bytes"])
    names = [row["who"].removeprefix(f"{OURS} ") for row in shown]
    sizes = [row["bytes"] for row in shown]
    bars = axes.barh(names, sizes, color=[COLOURS[name] for name in names])
    axes.bar_label(bars, [f" {size:,.0f} bytes" for size in sizes])
    axes.set(xlabel="bytes for each key, its indexes included", xlim=(0, 1.15 * max(sizes)))
    axes.set_title(
        f"How much room does a key that is done take? ({largest:,} keys)", loc="left", weight="bold"
    )


def _growth(axes: Any, rows: list[Row]) -> None:
    axes.set(xscale="log", xlabel="keys stored (log)", ylabel="CPU µs for a claim, both ends")
    axes.set_title("Does a claim cost more as the store grows?", loc="left", weight="bold")
    labels = []
    for who, mine in _by_who(rows):
        place = who.removeprefix(f"{OURS} ")
        cost = [row["client_us"] + (row["server_us"] or 0.0) for row in mine]
        axes.plot([row["keys"] for row in mine], cost, "o-", color=COLOURS[place])
        labels.append((cost[-1], f"{place}: {cost[-1] / cost[0]:.2f} times", COLOURS[place]))
    axes.set_ylim(bottom=0)
    _ticks(axes, sorted({row["keys"] for row in rows}))
    _label_ends(axes, labels, max(row["keys"] for row in rows))


def _by_who(rows: list[Row]) -> Iterable[tuple[str, list[Row]]]:
    for who in dict.fromkeys(row["who"] for row in rows):
        yield who, [row for row in rows if row["who"] == who]


def _ticks(axes: Any, values: Sequence[int]) -> None:
    axes.set_xticks(values, [f"{value:,}" for value in values])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    if axes.get_yscale() == "log":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _label_ends(axes: Any, labels: list[Label], right: float) -> None:
    """Write each line's name behind its end, apart where two would touch."""
    scale = axes.transScale + axes.transLimits  # from figures to shares of the axes
    axes.autoscale(enable=False)
    labels = sorted(labels)
    ends = [scale.transform((right, value))[1] for value, _, _ in labels]
    heights = spread(ends)
    for height, (_, name, colour) in zip(heights, labels, strict=True):
        axes.text(1.02, height, name, transform=axes.transAxes, color=colour, va="center")
