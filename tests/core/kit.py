"""Stores that fail on cue, runners without HTTP, and waiting for what must come."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from webhook_dedup import Delivery, Event, Policy, StoreUnavailable
from webhook_dedup.coalesce import Coalescer
from webhook_dedup.engine import Engine
from webhook_dedup.errors import ConfigError
from webhook_dedup.inbox import MemoryInbox
from webhook_dedup.model import Bid, Item, Key, new_token
from webhook_dedup.observe.recorder import Recorder
from webhook_dedup.runner import Runner
from webhook_dedup.standing import Job, Standing
from webhook_dedup.stores import MemoryStore

from ..asgi.kit import Records, policy

__all__ = [
    "CueStore",
    "Floor",
    "Records",
    "a_bid",
    "an_event",
    "eventually",
    "floor",
    "policy",
    "turns",
]


PATIENCE = 30.0


class CueStore(MemoryStore):
    """A memory store that notes its calls, and waits, fails or loses its answers on cue.

    Attributes:
        calls: ``(verb, keys)`` of every call, in order.
        away: Verbs that cannot be reached.
        faults: For each verb what its next calls raise before they act.
        lost: For each verb what its next calls raise after they have acted.
        gates: Verbs that wait for their event before they act.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.calls: list[tuple[str, list[str]]] = []
        self.away: set[str] = set()
        self.faults: defaultdict[str, list[BaseException]] = defaultdict(list)
        self.lost: defaultdict[str, list[BaseException]] = defaultdict(list)
        self.gates: dict[str, asyncio.Event] = {}

    def shut(self, verb: str) -> asyncio.Event:
        gate = self.gates[verb] = asyncio.Event()
        return gate

    def keys_of(self, verb: str) -> list[list[str]]:
        return [keys for called, keys in self.calls if called == verb]

    async def claim(self, bids: Sequence[Any]) -> Sequence[Any]:
        return await self._on_cue("claim", bids, super().claim)

    async def complete(self, done: Sequence[Any]) -> Sequence[bool]:
        return await self._on_cue("complete", done, super().complete)

    async def release(self, claims: Sequence[Any]) -> Sequence[bool]:
        return await self._on_cue("release", claims, super().release)

    async def renew(self, claims: Sequence[Any], lease: float) -> Sequence[bool]:
        renewing = super().renew
        return await self._on_cue("renew", claims, lambda held: renewing(held, lease))

    async def _on_cue(
        self, verb: str, requests: Sequence[Any], act: Callable[[Any], Awaitable[Any]]
    ) -> Any:
        self.calls.append((verb, [request.key for request in requests]))
        if verb in self.gates:
            await self.gates[verb].wait()
        if verb in self.away:
            raise StoreUnavailable(f"told to be away for {verb}")
        if self.faults[verb]:
            raise self.faults[verb].pop(0)
        answers = await act(requests)
        if self.lost[verb]:
            raise self.lost[verb].pop(0)
        return answers


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until something is so, and fail when it does not become so."""
    limit = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < limit, "it did not happen"
        await asyncio.sleep(0.002)


async def turns(count: int = 20) -> None:
    """Let the event loop take a few turns, so that whatever can happen at once has happened."""
    for _ in range(count):
        await asyncio.sleep(0)


def a_bid(key: str = "key", *, lease: float = 30.0, token: str = "") -> Bid:
    return Bid(key, token or new_token(), lease)


def an_event(event_id: str = "evt_1", *, body: bytes = b"{}", **fields: Any) -> Event:
    """An event of the source ``shop`` with a delivery of its own."""
    delivery = Delivery(new_token(), "shop", "POST", "/hooks", (), body, 0.0)
    chosen = {"key": Key("webhook:shop", event_id), "source": "shop", "delivery": delivery}
    return Event(**{**chosen, "id": event_id, **fields})


class Floor:
    """A runner with everything around it, and handlers in place of an app.

    Attributes:
        work: Called for every run with its event; returns the status.
        runs: Ids of the events run, in order.
    """

    def __init__(self, work: Callable[[Event], Awaitable[int]], **options: Any) -> None:
        self.work = work
        self.runs: list[str] = []
        self.records = Records()
        self.policy: Policy = options.get("policy") or policy()
        self.store: Any = options.get("store", CueStore())
        self.inbox: Any = options.get("inbox", MemoryInbox())
        self.events: dict[str, Event] = {}
        recorder = Recorder([self.records])
        self.engine = Engine(Coalescer(self.store), recorder)
        jobs = options.get("jobs") or self.job
        sources = options.get("sources")
        self.runner = Runner(self.engine, self.inbox, jobs, recorder, self.policy, sources=sources)

    def job(self, item: Item) -> Job:
        event = self.events[item.id]
        if item.delivery.source != event.source:
            raise ConfigError(f"source {item.delivery.source!r} is not configured")

        async def work(shown: Event) -> int:
            self.runs.append(event.id)
            return await self.work(shown)

        return Job(event, self.policy, 3600.0, work)

    def item(self, event: Event) -> Item:
        assert event.delivery is not None
        self.events[event.delivery.id] = event
        return Item(event.delivery.id, f"{event.delivery.id}.0", event.delivery)

    async def deliver(
        self, event: Event | None = None, standing: Standing | None = None
    ) -> asyncio.Task[None]:
        """Accept a delivery and begin its first run."""
        item = self.item(event or an_event())
        await self.runner.accept(item)
        return self.runner.run(item, self.job(item), standing)

    async def empty(self) -> None:
        """Wait until every accepted delivery is settled."""
        await eventually(lambda: not len(self.inbox))

    async def stop(self, timeout: float = 5.0) -> None:
        await self.runner.drain(timeout)
        await self.engine.drain(timeout)


@asynccontextmanager
async def floor(work: Callable[[Event], Awaitable[int]], **options: Any):
    """A :class:`Floor` that takes what comes due, drained at the end."""
    made = Floor(work, **options)
    made.runner.start()
    try:
        yield made
    finally:
        await made.stop()
