"""Concurrent single calls become batches, and no caller's fate is another's."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from webhook_dedup import StoreUnavailable
from webhook_dedup.coalesce import Coalescer, InboxCoalescer
from webhook_dedup.errors import StoreError
from webhook_dedup.inbox.memory import MemoryInbox
from webhook_dedup.lane import ANSWERED_A_TURN, MAX_BATCH, Direct, Lane
from webhook_dedup.model import Outcome, Settlement
from webhook_dedup.stores import MemoryStore, SeenCache
from webhook_dedup.testing.inbox_rules.case import an_item

from .kit import CueStore, a_bid, eventually, turns


class Verb:
    """A batch verb that answers ``key`` with ``key.upper()``, each call once it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.tasks: list[Any] = []
        self._permits = asyncio.Semaphore(0)
        self.respond: Callable[[Sequence[str]], Sequence[str]] = lambda keys: [
            key.upper() for key in keys
        ]

    async def __call__(self, keys: Sequence[str]) -> Sequence[str]:
        self.batches.append(list(keys))
        self.tasks.append(asyncio.current_task())
        await self._permits.acquire()
        return self.respond(keys)

    def let_go(self, calls: int = 2_000) -> None:
        for _ in range(calls):
            self._permits.release()


@pytest.fixture
async def verb() -> Verb:
    return Verb()


@pytest.fixture
async def orphans() -> list[tuple[str, str | None]]:
    return []


@pytest.fixture
async def lane(verb: Verb, orphans: list[tuple[str, str | None]]) -> Lane[str, str]:
    return Lane(verb, lambda key: key, lambda key, answer: orphans.append((key, answer)))


async def begun(lane: Lane[str, str], *keys: str) -> list[asyncio.Task[str]]:
    """Start one call per key, in order, the others while the first is under way."""
    first = asyncio.ensure_future(lane(keys[0]))
    await turns()
    others = [asyncio.ensure_future(lane(key)) for key in keys[1:]]
    await turns()
    return [first, *others]


async def failure(task: asyncio.Future[Any]) -> BaseException | None:
    await asyncio.wait([task], timeout=30)
    return task.exception()


async def test_lone_call_goes_at_once_in_its_callers_own_task(verb, lane):
    """A call that finds nothing under way is a batch of one, without a task of its own."""
    verb.let_go()

    assert await lane("a") == "A"
    assert verb.batches == [["a"]]
    assert verb.tasks == [asyncio.current_task()]


async def test_calls_that_arrive_meanwhile_go_together_next(verb, lane):
    """Calls made while one is under way form one batch, and each gets its own answer."""
    tasks = await begun(lane, "a", "b", "c", "d")
    verb.let_go()

    assert await asyncio.gather(*tasks) == ["A", "B", "C", "D"]
    assert verb.batches == [["a"], ["b", "c", "d"]]


async def test_calls_of_one_turn_of_the_loop_go_together(verb, lane):
    """Callers that the loop runs in the same turn form one batch, the first one included."""
    verb.let_go()
    assert await asyncio.gather(*map(lane, "abc")) == ["A", "B", "C"]
    assert [sorted(batch) for batch in verb.batches] == [["a", "b", "c"]]


async def test_calls_of_one_key_in_one_turn_are_all_answered(verb, lane):
    """Copies that arrive together on an idle lane wait for each other, and none for ever."""
    verb.let_go()
    assert await asyncio.gather(*map(lane, "aaa")) == ["A", "A", "A"]
    assert verb.batches == [["a"], ["a"], ["a"]]


async def test_copies_beyond_a_full_batch_are_all_answered(verb, lane):
    """A call that must wait for the next batch is not lost to a copy of itself."""
    keys = [f"key {number}" for number in range(MAX_BATCH + 1)]
    verb.let_go()
    answers = await asyncio.gather(*map(lane, [*keys, keys[-1]]))
    assert answers == [key.upper() for key in [*keys, keys[-1]]]
    assert [len(batch) for batch in verb.batches] == [MAX_BATCH, 1, 1]


async def test_callers_answered_together_go_on_together(verb, lane):
    """What the callers of one batch ask next, of this lane or another, is one batch again."""
    other_verb = Verb()
    other = Lane(other_verb, lambda key: key)
    for each in (verb, other_verb):
        each.let_go()

    async def live(key: str) -> None:
        for _ in range(4):
            await lane(key)
            await other(key)

    await asyncio.gather(*map(live, "abcdefgh"))
    assert [len(batch) for batch in verb.batches] == [8] * 4
    assert [len(batch) for batch in other_verb.batches] == [8] * 4


async def test_callers_of_one_turn_are_served_in_their_order(verb, lane):
    """Who comes first to an idle lane stands first in the batch."""
    tasks = [asyncio.ensure_future(lane(key)) for key in "abc"]
    verb.let_go()
    await asyncio.gather(*tasks)
    assert verb.batches == [["a", "b", "c"]]


async def test_a_large_batch_does_not_wake_all_its_callers_in_one_turn(verb, lane):
    """Whoever else uses the loop gets a turn between some of the answers and the next."""
    answered: list[int] = []
    turn = 0

    async def call(key: str) -> None:
        await lane(key)
        answered.append(turn)

    tasks = [asyncio.ensure_future(call(str(number))) for number in range(3 * ANSWERED_A_TURN)]
    await turns()
    verb.let_go()
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        turn += 1
    assert max(Counter(answered).values()) <= ANSWERED_A_TURN


async def test_a_caller_cancelled_before_it_asks_leaves_the_lane_free(verb, lane, orphans):
    """A call that is cancelled in its first turn is never sent, and the next one is."""
    verb.let_go()
    first = asyncio.ensure_future(lane("a"))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    assert await asyncio.wait_for(lane("b"), 30) == "B"
    assert verb.batches == [["b"]]
    assert orphans == []


async def test_keys_are_distinct_within_a_batch(verb, lane):
    """A key that comes twice goes once per batch; later copies go behind the other keys."""
    tasks = await begun(lane, "a", "a", "b", "a", "c", "b")
    verb.let_go()

    assert await asyncio.gather(*tasks) == ["A", "A", "B", "A", "C", "B"]
    assert verb.batches == [["a"], ["a", "b", "c"], ["a", "b"]]


async def test_batches_are_bounded(verb, lane):
    """No batch is larger than the limit, however many calls wait."""
    keys = [f"k{number}" for number in range(2 * MAX_BATCH + 2)]
    tasks = await begun(lane, *keys)
    verb.let_go()

    assert await asyncio.gather(*tasks) == [key.upper() for key in keys]
    assert [len(batch) for batch in verb.batches] == [1, MAX_BATCH, MAX_BATCH, 1]


async def test_one_hot_key_does_not_starve_the_others(verb, lane):
    """A thousand calls of one key do not keep another key from the next batch."""
    hot = await begun(lane, *["hot"] * 1000)
    [cold] = await begun(lane, "cold")
    verb.let_go()
    await cold

    assert verb.batches[:2] == [["hot"], ["hot", "cold"]]
    await asyncio.gather(*hot)


async def test_cancelled_waiter_is_never_sent(verb, lane, orphans):
    """A caller that leaves before its batch goes is left out of it."""
    _, leaver, stayer = tasks = await begun(lane, "a", "b", "c")
    leaver.cancel()
    verb.let_go()
    await asyncio.wait(tasks)

    assert stayer.result() == "C"
    assert verb.batches == [["a"], ["c"]]
    assert orphans == []


async def test_all_waiters_cancelled_leaves_the_lane_usable(verb, lane):
    """A lane whose whole queue was cancelled serves the next caller."""
    first, *leavers = await begun(lane, "a", *[f"k{n}" for n in range(MAX_BATCH + 5)])
    for leaver in leavers:
        leaver.cancel()
    [last] = await begun(lane, "z")
    verb.let_go()

    assert await asyncio.gather(first, last) == ["A", "Z"]
    assert await lane("y") == "Y"


async def test_cancellation_inside_a_batch_harms_no_neighbour(verb, lane, orphans):
    """The batch goes on when one of its callers leaves; that caller's answer is an orphan."""
    _, leaver, stayer = tasks = await begun(lane, "a", "b", "c")
    verb.let_go(1)
    await eventually(lambda: len(verb.batches) == 2)
    leaver.cancel()
    verb.let_go()
    await asyncio.wait(tasks)

    assert leaver.cancelled()
    assert stayer.result() == "C"
    assert orphans == [("b", "B")]


async def test_cancellation_that_nobody_minds_harms_no_neighbour(verb):
    """Nor does it where an answer without its caller is of no matter."""
    carrier, *others = await begun(Lane(verb, lambda key: key), *"abc")
    verb.let_go(1)
    await turns()
    others[0].cancel()
    verb.let_go()
    assert await carrier == "A"
    assert await others[1] == "C"
    assert verb.batches == [["a"], ["b", "c"]]


async def test_cancellation_of_the_lone_caller_lets_the_queue_go_on(verb, lane, orphans):
    """The caller that carries a call itself may be cancelled; those behind it are served."""
    carrier, waiter = await begun(lane, "a", "b")
    carrier.cancel()
    verb.let_go()

    assert await waiter == "B"
    assert orphans == [("a", None)]


async def test_bad_key_fails_alone(verb, lane):
    """A batch that fails is asked again call by call, so that only the bad one fails."""

    def respond(keys: Sequence[str]) -> Sequence[str]:
        if "bad" in keys:
            raise ValueError("a bad key")
        return [key.upper() for key in keys]

    verb.respond = respond
    first, good, bad, fine = await begun(lane, "a", "good", "bad", "fine")
    verb.let_go()

    assert await asyncio.gather(first, good, fine) == ["A", "GOOD", "FINE"]
    assert isinstance(await failure(bad), ValueError)
    assert verb.batches[1:] == [["good", "bad", "fine"], ["good"], ["bad"], ["fine"]]


async def test_store_away_fails_the_whole_batch_once(verb, lane):
    """When the store is away everybody in the batch is told, without asking for each."""
    tasks = await begun(lane, "a", "b", "c")
    verb.respond = _raiser(StoreUnavailable("away"))
    verb.let_go()

    assert all([isinstance(await failure(task), StoreUnavailable) for task in tasks])
    assert verb.batches == [["a"], ["b", "c"]]
    verb.respond = lambda keys: ["back"]
    assert await lane("d") == "back"


async def test_store_that_goes_away_among_single_calls_is_asked_no_further(verb, lane):
    """Calls retried singly after a failed batch end together once the store is away."""
    answers: list[Any] = [["A"], ValueError("the batch"), ["B"], StoreUnavailable("away")]

    def respond(_: Sequence[str]) -> Sequence[str]:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    verb.respond = respond
    tasks = await begun(lane, "a", "b", "c", "d", "e")
    verb.let_go()
    await asyncio.wait(tasks, timeout=30)

    assert [type(await failure(task)) for task in tasks[2:]] == [StoreUnavailable] * 3
    assert tasks[1].result() == "B"
    assert verb.batches == [["a"], ["b", "c", "d", "e"], ["b"], ["c"]]


async def test_too_few_answers_are_an_error_not_a_mix_up(verb, lane):
    """A store that gives another number of answers than asked fails those calls by name."""
    verb.respond = lambda keys: [key.upper() for key in keys][: max(0, len(keys) - 1)]
    tasks = await begun(lane, "a", "b", "c")
    verb.let_go()

    for task in tasks:
        error = await failure(task)
        assert isinstance(error, StoreError)
        assert "the store gave 0" in str(error)


async def test_no_answers_at_all_are_an_error_of_each_call(verb, lane):
    """A store that answers ``None`` is not taken to have said that a call needs no claim."""
    verb.respond = lambda _: None
    tasks = await begun(lane, "a", "b", "c")
    verb.let_go()

    assert [type(await failure(task)) for task in tasks] == [StoreError] * 3


async def test_verb_that_answers_nothing_answers_nobody(verb):
    """Calls of a verb that has no answers end with ``None``, alone and in company."""
    lane: Lane[str, None] = Lane(verb, lambda key: key, silent=True)
    verb.respond = lambda _: None
    verb.let_go()

    assert await lane("a") is None
    assert await asyncio.gather(*map(lane, "bcd")) == [None] * 3


@pytest.mark.parametrize(
    "fault", [StoreUnavailable("away"), ValueError("bad"), RuntimeError("loop"), OSError()]
)
async def test_lane_recovers_from_every_failure(verb, lane, fault):
    """After any exception, alone or in a batch, the lane answers the next callers."""
    sound, verb.respond = verb.respond, _raiser(fault)
    tasks = await begun(lane, "a", "b", "c")
    verb.let_go()

    assert [await failure(task) for task in tasks] == [fault] * 3
    verb.respond = sound
    assert await asyncio.gather(lane("d"), lane("e")) == ["D", "E"]


@pytest.mark.parametrize("alone", [False, True], ids=["batch", "singly"])
async def test_cut_off_worker_leaves_no_caller_hanging(verb, lane, alone):
    """When the task that carries a batch is cancelled, all its callers are told, and others go."""
    if alone:
        verb.respond = _raiser(ValueError("the batch"))
    tasks = await begun(lane, "a", "b", "c")
    calls = 2 if alone else 1
    verb.let_go(calls)
    await eventually(lambda: len(verb.batches) == calls + 1)
    [late] = await begun(lane, "d")
    verb.tasks[-1].cancel()

    assert all([isinstance(await failure(task), StoreUnavailable) for task in tasks[1:]])
    verb.respond = lambda keys: [key.upper() for key in keys]
    verb.let_go()
    assert await late == "D"


async def test_idle_waits_for_batches_under_way(verb, lane):
    """``idle`` returns when the last batch has been answered."""
    tasks = await begun(lane, "a", "b")
    idle = asyncio.ensure_future(lane.idle())
    verb.let_go()
    await asyncio.gather(*tasks)
    await asyncio.wait_for(idle, 30)

    assert lane._worker is not None
    assert lane._worker.done()


def _raiser(fault: BaseException) -> Callable[[Sequence[str]], Sequence[str]]:
    def respond(_: Sequence[str]) -> Sequence[str]:
        raise fault

    return respond


async def _outcome(store: CueStore, key: str) -> Outcome:
    return (await store.claim([a_bid(key)]))[0].outcome


async def in_batch(store: CueStore, coalescer: Coalescer, key: str) -> asyncio.Task[Any]:
    """Start a claim that is carried by a batch, held at the shut gate."""
    gate = store.shut("claim")
    carrier = asyncio.ensure_future(coalescer.claim(a_bid("other")))
    await turns()
    claiming = asyncio.ensure_future(coalescer.claim(a_bid(key)))
    await turns()
    store.shut("claim")
    gate.set()
    await carrier
    await eventually(lambda: store.keys_of("claim")[-1] == [key])
    return claiming


@pytest.mark.parametrize("steps", range(4))
async def test_worker_cancelled_before_it_begins_is_replaced(verb, lane, steps):
    """Every task may be cancelled between any two steps; the lane serves whoever comes then."""
    verb.let_go()
    calls = [asyncio.ensure_future(lane(key)) for key in "abc"]
    for _ in range(steps):
        await asyncio.sleep(0)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.wait(calls)
    assert await asyncio.wait_for(lane("d"), 5) == "D"


async def test_claim_granted_in_a_batch_to_a_cancelled_caller_is_released():
    """Nobody's claim blocks nobody: what a batch won for a caller that left is given back."""
    store = CueStore()
    coalescer = Coalescer(store)
    leaver = await in_batch(store, coalescer, "left")
    leaver.cancel()
    store.gates["claim"].set()
    await coalescer.drain()

    assert leaver.cancelled()
    assert store.keys_of("release") == [["left"]], "the drain waits for it"
    assert await _outcome(store, "left") is Outcome.FRESH


@pytest.mark.parametrize("acted", [False, True], ids=["before the store acts", "after it"])
async def test_claim_cut_off_by_its_own_callers_cancellation_is_released(acted):
    """A caller that carries its claim itself may be cut off at any time; the key stays free."""
    store = CueStore()
    coalescer = Coalescer(store)
    if acted:
        store.lost["claim"] = [asyncio.CancelledError()]  # the cancellation comes with the reply
    else:
        store.shut("claim")
    leaver = asyncio.ensure_future(coalescer.claim(a_bid("left")))
    await turns()
    leaver.cancel()
    await asyncio.wait([leaver])
    store.gates.clear()
    await coalescer.drain()

    assert leaver.cancelled()
    assert store.keys_of("release") == [["left"]]
    assert await _outcome(store, "left") is Outcome.FRESH


async def test_release_of_an_abandoned_claim_may_fail_quietly(caplog):
    """A store that is away when an abandoned claim is given back leaves it to the lease."""
    gc.collect()  # what other tests left behind is not told here
    caplog.clear()
    store = CueStore()
    coalescer = Coalescer(store)
    gate = store.shut("claim")
    store.away.add("release")
    leaver = asyncio.ensure_future(coalescer.claim(a_bid("left")))
    await turns()
    leaver.cancel()
    gate.set()
    await asyncio.wait([leaver])
    await coalescer.drain()
    gc.collect()

    assert store.keys_of("release") == [["left"]]
    assert caplog.text == ""


async def test_claim_of_a_caller_cancelled_with_its_answer_is_released():
    """An answer and a cancellation in the same turn of the loop leave no claim with nobody."""
    store = CueStore()
    coalescer = Coalescer(store)
    gate = store.shut("claim")
    first = asyncio.ensure_future(coalescer.claim(a_bid("a")))
    await turns()
    second = asyncio.ensure_future(coalescer.claim(a_bid("b")))
    await turns()
    deliver = coalescer.claim._deliver

    async def deliver_and_cancel(*batch):
        await deliver(*batch)
        second.cancel()

    coalescer.claim._deliver = deliver_and_cancel
    gate.set()
    await asyncio.wait([first, second])
    await coalescer.drain()
    assert second.cancelled()
    assert await _outcome(store, "b") is Outcome.FRESH


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("minded", [False, True])
async def test_caller_cancelled_in_the_turn_of_its_answer_is_cancelled(verb, orphans, minded, away):
    """Neither an answer nor a failure of the store takes a cancellation's place."""
    mind = (lambda key, answer: orphans.append((key, answer))) if minded else None
    lane: Lane[str, str] = Lane(verb, lambda key: key, mind)

    async def ask(key: str) -> str:
        return await lane(key)

    leaver, stayer = [asyncio.ensure_future(ask(key)) for key in "ab"]

    def answer(keys: Sequence[str]) -> Sequence[str]:
        asyncio.get_running_loop().call_soon(leaver.cancel)
        if away:
            raise StoreUnavailable("away")
        return [key.upper() for key in keys]

    verb.respond = answer
    verb.let_go()
    assert isinstance(await failure(stayer), StoreUnavailable if away else type(None))
    await asyncio.wait([leaver])
    assert leaver.cancelled()
    assert verb.batches == [["a", "b"]]
    assert orphans == ([("a", "A")] if minded and not away else [])


async def test_duplicate_answer_to_a_cancelled_caller_releases_nothing():
    """Only a claim that was granted is given back, never the winner's."""
    store = CueStore()
    coalescer = Coalescer(store)
    [won] = await store.claim([a_bid("key")])
    leaver = await in_batch(store, coalescer, "key")
    leaver.cancel()
    store.gates["claim"].set()
    await coalescer.drain()

    assert store.keys_of("release") == []
    assert await store.renew([won], 30.0) == [True]


@pytest.mark.parametrize("verb", ["claim", "complete", "release"])
async def test_drain_waits_for_what_is_under_way(verb):
    """A store is not closed under a call that it has not answered."""
    store = CueStore()
    coalescer = Coalescer(store)
    [held] = await store.claim([a_bid()])
    gate = store.shut(verb)
    request = {"claim": a_bid("other"), "complete": Settlement(held, 60.0), "release": held}[verb]
    asking = asyncio.ensure_future(getattr(coalescer, verb)(request))
    await turns()
    draining = asyncio.ensure_future(coalescer.drain())
    await turns()
    assert not draining.done()
    gate.set()
    await draining
    assert asking.done()


async def test_verbs_go_through_lanes_of_their_own():
    """A claim under way does not keep a completion waiting."""
    store = CueStore()
    coalescer = Coalescer(store)
    claim = await coalescer.claim(a_bid("a"))
    gate = store.shut("claim")
    other = asyncio.ensure_future(coalescer.claim(a_bid("b")))
    await turns()

    assert await coalescer.complete(Settlement(claim, 60.0)) is True
    gate.set()
    await other


class _Proxy:
    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.mark.parametrize("wrap", [CueStore, lambda: _Proxy(MemoryStore())])
async def test_only_a_store_that_says_so_itself_goes_without_batches(wrap):
    """What derives from the memory store, or stands before it, may wait and is coalesced."""
    assert isinstance(Coalescer(MemoryStore()).claim, Direct)
    assert isinstance(Coalescer(SeenCache(MemoryStore())).claim, Direct)
    assert isinstance(Coalescer(wrap()).claim, Lane)
    assert isinstance(Coalescer(SeenCache(wrap())).claim, Lane)


async def test_calls_that_go_without_batches_are_answered_singly():
    """A call that goes by itself gets its own answer, and nothing from a verb that answers none."""
    store, inbox = Coalescer(MemoryStore()), InboxCoalescer(MemoryInbox(), 30.0)
    claim, item = await store.claim(a_bid("key")), an_item()
    assert claim.outcome is Outcome.FRESH
    assert await store.release(claim) is True
    assert await inbox.put(item) is None
    assert await inbox.begin(item) is True
    assert await inbox.done(item) is None
    assert await inbox.begin(item) is False


async def test_idle_waits_for_a_call_that_goes_alone(verb, lane):
    """A caller asks in its own task, and drains wait for that too."""
    alone = asyncio.ensure_future(lane("a"))
    await turns()
    idle = asyncio.ensure_future(lane.idle())
    await turns()
    assert not idle.done()
    verb.let_go()
    await asyncio.wait_for(idle, 30)
    assert await alone == "A"
