"""Plots a person can read, as SVG and PNG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

from .lab import Row

mpl.use("Agg")
import matplotlib.pyplot as plt  # the back end must be chosen first


def draw(folder: Path, rows: list[Row]) -> None:
    plots: dict[str, tuple[str, Callable[[Any, list[Row]], None]]] = {
        "claims": ("claims", _throughput),
        "latency": ("http", _latency),
        "bytes": ("bytes per key", _bytes),
        "growth": ("growth", _growth),
    }
    for name, (question, plot) in plots.items():
        asked = [row for row in rows if row["question"] == question]
        if asked:
            figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
            plot(axes, asked)
            figure.savefig(folder / f"{name}.svg")
            figure.savefig(folder / f"{name}.png", dpi=120)
            plt.close(figure)


def _throughput(axes: Any, rows: list[Row]) -> None:
    for who in dict.fromkeys(row["who"] for row in rows):
        mine = [row for row in rows if row["who"] == who]
        ours = who.startswith("webhook_dedup")
        axes.plot(
            [row["tasks"] for row in mine],
            [row["rate"] for row in mine],
            "o-" if ours else "s--",
            label=who,
        )
    axes.set(xscale="log", yscale="log", xlabel="concurrent tasks", ylabel="claims per second")
    axes.set_title("New keys claimed per second")
    axes.grid(which="both", alpha=0.2)
    axes.legend(fontsize=8, ncols=2)


def _latency(axes: Any, rows: list[Row]) -> None:
    names = [row["who"] for row in rows]
    places = range(len(rows))
    axes.barh([p + 0.2 for p in places], [row["p99_ms"] for row in rows], 0.4, label="p99")
    axes.barh([p - 0.2 for p in places], [row["p50_ms"] for row in rows], 0.4, label="p50")
    axes.set_yticks(list(places), names)
    axes.invert_yaxis()
    axes.set(xlabel="milliseconds to the answer, 64 connections")
    axes.set_title("Time to acknowledge")
    axes.legend()


def _bytes(axes: Any, rows: list[Row]) -> None:
    largest = max(row["keys"] for row in rows)
    shown = [row for row in rows if row["keys"] == largest]
    bars = axes.bar([row["who"].split()[-1] for row in shown], [row["bytes"] for row in shown])
    axes.bar_label(bars, fmt="%.0f")
    axes.set(yscale="log", ylabel="bytes for each key")
    axes.set_title(f"Room for a done key, {largest:,} stored")


def _growth(axes: Any, rows: list[Row]) -> None:
    for who in dict.fromkeys(row["who"] for row in rows):
        mine = [row for row in rows if row["who"] == who]
        cost = [row["client_us"] + row["server_us"] for row in mine]
        axes.plot([row["keys"] for row in mine], cost, "o-", label=who)
    axes.set(xscale="log", xlabel="keys stored", ylabel="CPU us for a claim, both ends", ylim=0)
    axes.set_title("Cost of a claim as the store grows")
    axes.grid(alpha=0.2)
    axes.legend()
