"""Where questions are asked: servers of our own, and contestants measured in turns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
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
        keys: Stored, for their size; the first also for expiry and the Bloom filter.
        growth: Keys stored, for the growth of a claim's cost.
        requests, http_rounds: Of each app.
        probes: Looks for keys that are not in the Bloom filter, at each rate.
    """

    seconds: float
    rounds: int
    tasks: Sequence[int]
    keys: Sequence[int]
    growth: Sequence[int]
    requests: int
    http_rounds: int
    probes: int


QUICK = Scale(
    seconds=0.3,
    rounds=3,
    tasks=(1, 64),
    keys=(100_000,),
    growth=(10_000, 300_000),
    requests=2_000,
    http_rounds=1,
    probes=50_000,
)
FULL = Scale(
    seconds=1.0,
    rounds=5,
    tasks=(1, 16, 64, 256),
    keys=(100_000, 1_000_000),
    growth=(10**4, 10**5, 10**6, 10**7),
    requests=12_000,
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
    """

    name: str
    opened: Callable[[], AbstractAsyncContextManager[Operation]]
    server: Server | None = None

    @property
    def pids(self) -> list[int]:
        return [self.server._process.pid] if self.server else []  # noqa: SLF001  # tests need it not


async def compare(
    lab: Lab, question: str, contestants: Sequence[Contestant], tasks: int, **about: Any
) -> list[Row]:
    """Measure contestants round after round, each once a round, so that noise meets all alike."""
    samples: dict[str, list[Sample]] = {each.name: [] for each in contestants}
    async with AsyncExitStack() as stack:
        operations = [await stack.enter_async_context(each.opened()) for each in contestants]
        for operation in operations:
            await drive(operation, tasks=tasks, seconds=WARM_UP)
        for turn in range(lab.scale.rounds):
            for each, operation in zip(contestants, operations, strict=True):
                lab.tell(f"{question}: {each.name}, {tasks} tasks, round {turn + 1}")
                sample = await drive(
                    operation, tasks=tasks, seconds=lab.scale.seconds, servers=each.pids
                )
                samples[each.name].append(sample)
    return [
        {"question": question, "who": name, "tasks": tasks, **about, **asdict(summary(each))}
        for name, each in samples.items()
    ]


def opening(
    make: Callable[..., AbstractAsyncContextManager[Operation]], *arguments: Any
) -> Callable[[], AbstractAsyncContextManager[Operation]]:
    """Delay the opening of a contestant."""
    return lambda: make(*arguments)


@asynccontextmanager
async def plainly(operation: Operation) -> AsyncIterator[Operation]:
    """Give an operation that needs no closing."""
    yield operation
