"""Where questions are asked: servers of our own, and contestants measured in turns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import PostgresServer, RedisServer, Server
from webhook_dedup.bench.load import Operation, Sample, drive, summary

Row = dict[str, Any]
WARM_UP = 0.2


@dataclass(frozen=True)
class Scale:
    """How long and how much is measured.

    Attributes:
        seconds, rounds: Of each contestant.
        tasks: At once, for claims.
        shares: Of duplicates.
        keys: Stored, for their size; the first also for expiry and the Bloom filter.
        growth: Keys stored, for the growth of a claim's cost.
        requests, http_rounds: Of each app.
        probes: Looks for keys that are not in the Bloom filter, at each rate.
    """

    seconds: float
    rounds: int
    tasks: Sequence[int]
    shares: Sequence[float]
    keys: Sequence[int]
    growth: Sequence[int]
    requests: int
    http_rounds: int
    probes: int


QUICK = Scale(
    seconds=0.3,
    rounds=3,
    tasks=(1, 64),
    shares=(0.0, 0.9),
    keys=(50_000,),
    growth=(10_000, 300_000),
    requests=2_000,
    http_rounds=1,
    probes=50_000,
)
FULL = Scale(
    seconds=0.8,
    rounds=5,
    tasks=(1, 16, 64, 256),
    shares=(0.0, 0.5, 0.9, 0.99),
    keys=(100_000, 1_000_000),
    growth=(10**4, 10**5, 10**6, 10**7),
    requests=8_000,
    http_rounds=5,
    probes=1_000_000,
)


@dataclass
class Lab:
    """Servers and a folder for files.

    Attributes:
        redis: As it comes.
        durable_redis: With ``appendonly yes`` and ``appendfsync always``.
        postgres: With fsync.
        folder: On a disk, for SQLite.
        tell: Called with one line on what is under way.
    """

    redis: RedisServer
    durable_redis: RedisServer
    postgres: PostgresServer
    folder: Path
    scale: Scale
    tell: Callable[[str], None]
    files: int = field(default=0)

    def sqlite(self) -> str:
        """The URL of a new file."""
        self.files += 1
        return f"sqlite:///{self.folder}/{self.files}.db"


@dataclass(frozen=True)
class Contestant:
    """Something that does the same work in its own way.

    Attributes:
        name: For the tables.
        opened: Opens it and gives the operation to repeat.
        server: Whose CPU time counts as the server's.
        about: More for its rows.
        tidy: Called after each measured stretch, outside of it.
    """

    name: str
    opened: Callable[[], AbstractAsyncContextManager[Operation]]
    server: Server | None = None
    about: Row = field(default_factory=dict)
    tidy: Callable[[], Awaitable[None]] | None = None

    @property
    def pids(self) -> list[int]:
        return [self.server._process.pid] if self.server else []  # noqa: SLF001 - tests need it not


async def compare(
    lab: Lab, question: str, contestants: Sequence[Contestant], tasks: int, **about: Any
) -> list[Row]:
    """Measure contestants round after round, each once a round, so that noise meets all alike."""
    samples: list[list[Sample]] = [[] for _ in contestants]
    async with AsyncExitStack() as stack:
        operations = [await stack.enter_async_context(each.opened()) for each in contestants]
        for each, operation in zip(contestants, operations, strict=True):
            await _measure(each, operation, tasks, WARM_UP)
        for turn in range(lab.scale.rounds):
            for each, operation, taken in zip(contestants, operations, samples, strict=True):
                lab.tell(f"{question}: {each.name}, {tasks} tasks, round {turn + 1}")
                taken.append(await _measure(each, operation, tasks, lab.scale.seconds))
    return [
        {
            "question": question,
            "who": each.name,
            "tasks": tasks,
            **about,
            **each.about,
            **asdict(summary(taken)),
        }
        for each, taken in zip(contestants, samples, strict=True)
    ]


async def _measure(each: Contestant, operation: Operation, tasks: int, seconds: float) -> Sample:
    sample = await drive(operation, tasks=tasks, seconds=seconds, servers=each.pids)
    if each.tidy is not None:
        await each.tidy()
    return sample


def opening(
    make: Callable[..., AbstractAsyncContextManager[Operation]], *arguments: Any
) -> Callable[[], AbstractAsyncContextManager[Operation]]:
    """Delay the opening of a contestant."""
    return lambda: make(*arguments)


@asynccontextmanager
async def plainly(operation: Operation) -> AsyncIterator[Operation]:
    """Give an operation that needs no closing."""
    yield operation
