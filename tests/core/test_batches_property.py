"""Overlapping batches, failures, outages and two processes: every item is done exactly once."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from webhook_dedup import Policy
from webhook_dedup.model import Outcome
from webhook_dedup.policy import Retries

from .batches import a_batch
from .kit import CueStore, Floor
from .test_runner import Inbox, outcome
from .virtual import LoopClock, in_virtual_time, now

IDS = "abcdef"
PATIENT = Policy(retries=Retries(attempts=1000, initial=1, maximum=30, jitter=0), lease=30)


@dataclass(frozen=True)
class Arrival:
    """A delivery: when it comes, to which process, and what it brings."""

    at: float
    process: int
    ids: list[str]


@dataclass(frozen=True)
class Call:
    """What one call of the handler does: settles some items, takes its time, and ends."""

    settles: frozenset[str]
    takes: float
    fails: bool


@dataclass
class Handler:
    """Follows a script of calls, then succeeds; an effect counts when its item is done."""

    script: list[Call]
    effects: Counter[str] = field(default_factory=Counter)
    running: Counter[str] = field(default_factory=Counter)

    async def __call__(self, event) -> int:
        call = self.script.pop() if self.script else Call(frozenset(), 1, fails=False)
        ids = [item.event.id for item in event.items]
        self.running.update(ids)
        assert set(self.running.values()) <= {0, 1}, "an item runs twice at once"
        settled = set()
        try:
            for item in event.items:
                if item.event.id in call.settles:
                    await asyncio.sleep(call.takes)
                    await item.done()
                    self._end(item.event.id)
                    settled.add(item.event.id)
            await asyncio.sleep(call.takes)
        finally:
            self.running.subtract(set(ids) - settled)
        if call.fails:
            raise RuntimeError("told to fail")
        self.effects.update(set(ids) - settled)
        return 200

    def _end(self, name: str) -> None:
        self.effects[name] += 1
        self.running[name] -= 1


some_ids = st.lists(st.sampled_from(IDS), min_size=1, max_size=len(IDS), unique=True)
arrivals = st.builds(Arrival, st.integers(0, 40), st.integers(0, 1), some_ids)
some_calls = st.builds(Call, st.frozensets(st.sampled_from(IDS)), st.integers(0, 50), st.booleans())
outages = st.tuples(
    st.integers(0, 100),
    st.integers(1, 15),
    st.sets(st.sampled_from(["claim", "release", "renew"]), min_size=1),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(arrivals, min_size=1, max_size=8),
    st.lists(some_calls, max_size=12),
    st.lists(outages, max_size=3),
)
@in_virtual_time
async def test_every_item_is_done_exactly_once(brought, script, away):
    """Whatever overlaps and fails, each item has one effect, and no row is left."""
    store, handler = CueStore(clock=LoopClock()), Handler(script)
    floors = [Floor(handler, store=store, inbox=Inbox(), policy=PATIENT) for _ in range(2)]
    for made in floors:
        made.runner.start()
    outage = asyncio.gather(*(_outage(store, *period) for period in away))
    try:
        for arrival in sorted(brought, key=lambda one: one.at):
            await asyncio.sleep(max(0.0, arrival.at + 1000 - now()))
            await floors[arrival.process].deliver(a_batch(*arrival.ids))
        await outage
        for made in floors:
            while len(made.inbox):  # noqa: ASYNC110 - in virtual time a sleep costs nothing
                await asyncio.sleep(1)
        ids = {name for arrival in brought for name in arrival.ids}
        assert handler.effects == dict.fromkeys(ids, 1)
        for name in ids:
            assert await outcome(floors[0], name) is Outcome.DUPLICATE
    finally:
        for made in floors:
            await made.stop()


async def _outage(store: CueStore, at: float, seconds: float, verbs: set[str]) -> None:
    await asyncio.sleep(at)
    store.away |= verbs
    await asyncio.sleep(seconds)
    store.away -= verbs
