"""Load on one operation, and what it cost."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["Operation", "Sample", "Summary", "cpu_of", "drive", "family", "quantile", "summary"]

Operation = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured stretch of load.

    Attributes:
        operations: How many ended.
        seconds: How long it took.
        client_cpu: CPU seconds of this process, all threads.
        server_cpu: CPU seconds of the servers' processes; ``None`` where they are not ours.
        waits: Seconds each operation took, sorted.
    """

    operations: int
    seconds: float
    client_cpu: float
    server_cpu: float | None
    waits: Sequence[float]

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.operations / self.seconds


@dataclass(frozen=True, slots=True)
class Summary:
    """Medians over several samples of the same load, with the spread of the rates.

    Attributes:
        rate: Operations per second.
        lowest, highest: Of the samples' rates.
        client_us: CPU microseconds of this process for each operation.
        server_us: The same of the servers.
        p50_ms, p99_ms: Milliseconds an operation took.
        operations: In all samples.
    """

    rate: float
    lowest: float
    highest: float
    client_us: float
    server_us: float | None
    p50_ms: float
    p99_ms: float
    operations: int


def summary(samples: Sequence[Sample]) -> Summary:
    """Sum up what was measured of one load."""
    rates = [sample.rate for sample in samples]
    servers = [1e6 * s.server_cpu / s.operations for s in samples if s.server_cpu is not None]
    return Summary(
        rate=median(rates),
        lowest=min(rates),
        highest=max(rates),
        client_us=median(1e6 * sample.client_cpu / sample.operations for sample in samples),
        server_us=median(servers) if servers else None,
        p50_ms=median(1e3 * quantile(sample.waits, 0.5) for sample in samples),
        p99_ms=median(1e3 * quantile(sample.waits, 0.99) for sample in samples),
        operations=sum(sample.operations for sample in samples),
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which a share of sorted values lies."""
    return ordered[min(len(ordered) - 1, math.floor(share * len(ordered)))]


async def drive(
    operation: Operation, *, tasks: int, seconds: float, servers: Iterable[int] = ()
) -> Sample:
    """Run an operation over and over in so many tasks at once.

    Args:
        operation: What each task repeats.
        tasks: How many run it at the same time.
        seconds: How long.
        servers: Process ids whose CPU time counts as the servers' (Linux only); their children's
            counts too.
    """
    waits: list[float] = []
    clock = time.perf_counter

    async def repeat() -> None:
        now = clock()
        while now < ends_at:
            await operation()
            began, now = now, clock()
            waits.append(now - began)

    pids = [pid for server in servers for pid in family(server)]
    served, used = sum(map(cpu_of, pids)), time.process_time()
    began = clock()
    ends_at = began + seconds
    await asyncio.gather(*(repeat() for _ in range(tasks)))
    took = clock() - began
    used = time.process_time() - used
    spent = sum(map(cpu_of, pids)) - served if pids else None
    return Sample(len(waits), took, used, spent, sorted(waits))


def family(pid: int) -> list[int]:
    """Return a process and all that it started, as Linux tells them."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def cpu_of(pid: int) -> float:
    """Return the CPU seconds a process has used, 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:  # a connection that was closed meanwhile
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
