"""``@deduplicate`` on functions: one run per event, from any kind of caller."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import uuid
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import pytest

from webhook_dedup import (
    ConfigError,
    Dedup,
    Discard,
    InProgress,
    Policy,
    Retry,
    StoreUnavailable,
    WebhookDedup,
    deduplicate,
    idempotent,
    once,
)
from webhook_dedup.errors import LeaseLost, MissingPower, RejectedDelivery
from webhook_dedup.guards import OneAtATime
from webhook_dedup.model import Remembers
from webhook_dedup.observe.record import Kind
from webhook_dedup.stores import MemoryStore
from webhook_dedup.threads import THREADS

from ..asgi.kit import Handler, deliver, living, source
from ..every_store import a_redis, lasting_url
from .kit import CueStore, Records, a_bid, eventually
from .virtual import LoopClock, in_virtual_time

__all__ = ["a_redis", "lasting_url"]


def the_id(event: Any) -> Any:
    return event["id"]


class Once:
    """A decorated function with its runs and records."""

    def __init__(self, store: Any = None, policy: Policy | None = None, **options: Any) -> None:
        self.records = Records()
        self.store = CueStore() if store is None else store
        self.dedup = Dedup(self.store, observers=[self.records], policy=policy)
        self.runs: list[Any] = []
        self.outcomes: list[Any] = []
        self.handle = deduplicate(self.dedup, **{"key": the_id, "scope": "test", **options})(
            self._handle
        )

    async def _handle(self, event: Any) -> Any:
        self.runs.append(event)
        outcome = self.outcomes.pop(0) if self.outcomes else "handled"
        if isinstance(outcome, asyncio.Event):
            await outcome.wait()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


EVENT = {"id": "evt_1"}


async def test_first_call_runs_and_later_ones_return_none():
    """A done event answers ``None`` and is recorded as a skip with its age."""
    once = Once()

    assert await once.handle(EVENT) == "handled"
    assert await once.handle(EVENT) is None
    assert await once.handle({"id": "evt_2"}) == "handled"
    [skipped] = once.records.of(Kind.SKIPPED)
    assert (skipped.reason, skipped.event_id, skipped.source) == ("duplicate", "evt_1", "test")
    assert skipped.age is not None


@pytest.mark.parametrize("value", [0, "", False, {}, None, []])
async def test_falsy_results_are_results(value):
    """What the function returned comes back as it was, and the event is done."""
    once = Once()
    once.outcomes = [value]

    assert await once.handle(EVENT) == value
    await once.handle(EVENT)
    assert len(once.runs) == 1


def _yields(event: Any) -> Any:
    yield event


async def _yields_later(event: Any) -> Any:
    yield event


@pytest.mark.parametrize("decorate", [deduplicate, idempotent])
@pytest.mark.parametrize("function", [_yields, _yields_later, partial(_yields)])
def test_generators_are_refused(decorate, function):
    """A call would run nothing of it, and the event would be done."""
    with pytest.raises(ConfigError, match="without yield"):
        decorate("memory://", key=the_id, scope="test")(function)


@pytest.mark.parametrize("function", [_yields, _yields_later])
async def test_generator_that_is_called_once_has_not_run(function):
    """What is handed over as a function fails the event, which is not done."""
    store = MemoryStore()
    for _ in range(2):
        with pytest.raises(ConfigError, match="without yield"):
            await once.call(store, "key", partial(function, EVENT))


@pytest.mark.parametrize("decorate", [deduplicate, idempotent])
async def test_function_without_a_name_needs_a_scope(decorate):
    """A partial has none, and is told so; with a scope it is a function like any other."""

    async def handle(kind: str, event: Any) -> str:
        return f"{kind} {event['id']}"

    nameless = partial(handle, "a mail for")
    with pytest.raises(ConfigError, match="scope="):
        decorate(MemoryStore(), key=the_id)(nameless)
    assert await decorate(MemoryStore(), key=the_id, scope="mail")(nameless)(EVENT) == (
        "a mail for evt_1"
    )


async def test_what_is_raised_in_a_task_group():
    """One error of this library means in a group what it means alone; any other group passes."""
    errors = [InProgress("key", 3), ValueError("broken"), Discard("not ours")]

    async def fail():
        raise errors.pop(0)

    @deduplicate(MemoryStore(), key=the_id)
    async def handle(event):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail)

    with pytest.raises(InProgress):
        await handle(EVENT)
    with pytest.raises(Exception, match="TaskGroup") as caught:
        await handle(EVENT)
    assert [type(error) for error in caught.value.exceptions] == [ValueError]
    assert [await handle(EVENT), await handle(EVENT), errors] == [None, None, []]


@pytest.mark.parametrize("decorate", [deduplicate, idempotent])
def test_lambda_needs_a_scope(decorate):
    """All lambdas of a module have one name, and would pass for each other."""
    with pytest.raises(ConfigError, match="lambda has no name"):
        decorate(MemoryStore(), key=the_id)(lambda event: event["id"])


async def test_concurrent_call_is_told_that_another_is_inside():
    """While the first runs, the others get ``InProgress`` with the lease that is left."""
    once = Once()
    gate = asyncio.Event()
    once.outcomes = [gate]
    first = asyncio.ensure_future(once.handle(EVENT))
    await eventually(lambda: once.runs)
    with pytest.raises(InProgress) as caught:
        await once.handle(EVENT)
    gate.set()
    await first

    assert 0 < caught.value.retry_after <= 30
    [skipped] = once.records.of(Kind.SKIPPED)
    assert (skipped.reason, skipped.original) == ("in_flight", "in_flight")


@pytest.mark.parametrize("fault", [ValueError("broken"), Retry("later"), asyncio.CancelledError()])
async def test_failure_releases_the_event_and_goes_to_the_caller(fault):
    """The exception is the caller's, and the next call runs."""
    once = Once()
    once.outcomes = [fault]
    with pytest.raises(type(fault)) as caught:
        await once.handle(EVENT)

    assert caught.value is fault or isinstance(fault, asyncio.CancelledError)
    assert once.records.of(Kind.FAILED)
    assert await once.handle(EVENT) == "handled"


@pytest.mark.parametrize("door", [deduplicate, idempotent, once])
async def test_failure_is_recorded_though_its_caller_leaves_during_the_release(door):
    """Who is cancelled while the store is slow leaves the release to the engine, not the record."""
    store, records = CueStore(), Records()
    async with Dedup(store, observers=[records]) as dedup:

        async def fail(key: str) -> None:
            raise ValueError("broken")

        async def fail_inside(key: str) -> None:
            async with once(dedup, key):
                raise ValueError("broken")

        call = fail_inside if door is once else door(dedup, key=lambda key: key)(fail)
        gate = store.shut("release")
        leaver = asyncio.ensure_future(call("a"))
        await eventually(lambda: store.keys_of("release"))
        leaver.cancel()
        await asyncio.wait([leaver])
        assert records.kinds == ["started", "failed"]
        gate.set()

    assert leaver.cancelled()


async def test_discard_ends_the_event_for_good():
    """``Discard`` returns ``None`` and is remembered, recorded as a skip with its reason."""
    once = Once()
    once.outcomes = [Discard("not ours")]

    assert await once.handle(EVENT) is None
    assert await once.handle(EVENT) is None
    assert len(once.runs) == 1
    discarded, duplicate = once.records.of(Kind.SKIPPED)
    assert (discarded.reason, discarded.detail) == ("discarded", "not ours")
    assert duplicate.reason == "duplicate"


async def test_cancelled_caller_leaves_the_event_free():
    """A cancelled call cancels the function, releases the event and raises ``CancelledError``."""
    once = Once()
    once.outcomes = [asyncio.Event()]
    call = asyncio.ensure_future(once.handle(EVENT))
    await eventually(lambda: once.runs)
    call.cancel()
    await asyncio.wait([call])

    assert call.cancelled()
    assert await once.handle(EVENT) == "handled"


async def test_cancelled_caller_is_cancelled_though_the_function_succeeded():
    """The event is done, and who cancelled the call sees that it ended by that."""
    inside = asyncio.Event()

    async def deaf(event: Any) -> str:
        inside.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done all the same"
        return "never"

    handle = deduplicate(MemoryStore(), key=the_id)(deaf)
    call = asyncio.ensure_future(handle(EVENT))
    await inside.wait()
    call.cancel()
    await asyncio.wait([call])

    assert call.cancelled()
    assert await handle(EVENT) is None


async def test_status_of_a_plain_result_is_the_callers_business():
    """A function that returns somebody's 500 has succeeded; only endpoints are judged by it."""

    class TheirResponse:
        status_code = 500

    once = Once()
    once.outcomes = [TheirResponse()]
    await once.handle(EVENT)
    await once.handle(EVENT)

    assert len(once.runs) == 1


async def test_plain_function_runs_in_a_thread_and_becomes_awaitable():
    """A plain ``def`` does not block the event loop."""
    threads: list[int] = []

    @deduplicate(MemoryStore(), key=the_id)
    def handle(event: Any) -> int:
        threads.append(threading.get_ident())
        return 7

    assert await handle(EVENT) == 7
    assert await handle(EVENT) is None
    assert threads != [threading.get_ident()]


async def test_fifty_calls_at_once_run_once():
    """However many callers there are, one is inside, and the rest are told."""
    once = Once()
    answers = await asyncio.gather(*(once.handle(EVENT) for _ in range(50)), return_exceptions=True)

    assert len(once.runs) == 1
    assert answers.count("handled") == 1
    assert all(answer in ("handled", None) or isinstance(answer, InProgress) for answer in answers)


@in_virtual_time
async def test_function_longer_than_its_lease_runs_once():
    """A slow function keeps its event; when its claim is lost it is cancelled and told so."""
    store = CueStore(clock=LoopClock())
    once = Once(store, policy=Policy(lease=3))
    once.outcomes = [asyncio.Event()]
    call = asyncio.ensure_future(once.handle(EVENT))
    await asyncio.sleep(30)
    with pytest.raises(InProgress):
        await once.handle(EVENT)
    store.away.add("renew")
    with pytest.raises(LeaseLost):
        await call

    assert [record.kind for record in once.records.all[-1:]] == [Kind.LEASE_LOST]
    assert store.keys_of("release") == []


async def test_loss_of_a_claim_within_frees_the_event():
    """A lock or another claim that is lost inside the function holds its event no longer."""
    once = Once()
    once.outcomes = [LeaseLost("the lock ran out"), "handled"]
    with pytest.raises(LeaseLost):
        await once.handle(EVENT)
    assert await once.handle(EVENT) == "handled"


@in_virtual_time
async def test_time_out_fails_the_call():
    """``handler_timeout`` cancels the function, releases the event and raises ``TimeoutError``."""
    store = CueStore(clock=LoopClock())
    once = Once(store, policy=Policy(handler_timeout=timedelta(seconds=5)))
    once.outcomes = [asyncio.Event()]
    with pytest.raises(TimeoutError):
        await once.handle(EVENT)

    assert await once.handle(EVENT) == "handled"


# Ids and keys


@pytest.mark.parametrize("value", [None, "", "   ", "\t\n"])
async def test_missing_id_is_refused_by_default(value):
    """No id is not an id: blank ones never share a key."""
    once = Once()
    with pytest.raises(RejectedDelivery) as caught:
        await once.handle({"id": value})

    assert caught.value.code == "missing_event_id"
    assert once.runs == []
    assert once.store.calls == []
    [rejected] = once.records.of(Kind.REJECTED)
    assert (rejected.reason, rejected.status) == ("missing_event_id", 400)


async def test_missing_id_may_be_run_without_deduplication():
    """``on_missing_id="process"`` claims nothing and runs every time."""
    once = Once(policy=Policy(on_missing_id="process"))
    assert [await once.handle({"id": None}) for _ in range(2)] == ["handled"] * 2
    assert once.store.calls == []


@pytest.mark.parametrize("value", [True, 1.5, ["a"], {"a": 1}, "x" * 1_000_001])
async def test_odd_ids_are_refused_by_name(value):
    """An id that is no text or integer, or endless, is an error, never a run."""
    once = Once()
    with pytest.raises(RejectedDelivery, match="event id must"):
        await once.handle({"id": value})
    assert once.runs == []


@pytest.mark.parametrize("value", [uuid.uuid4(), b"bytes", ("a", "b"), object()])
async def test_ids_that_no_sender_can_send_are_the_programs_mistake(value):
    """A key function that returns something else is told what to write, not its caller."""
    once = Once()
    with pytest.raises(ConfigError, match=r"text or an integer, got .*; write .*str\(order\.id\)"):
        await once.handle({"id": value})
    assert (once.runs, once.records.all) == ([], [])


@pytest.mark.parametrize(
    "value", [0, -1, 10**30, "0", "evt:1", "{a}", "\udc80", "nul\0", "é" * 2000]
)
async def test_any_text_and_any_integer_is_an_id(value):
    """Hostile ids are ids like any other."""
    once = Once()
    await once.handle({"id": value})
    await once.handle({"id": value})
    assert len(once.runs) == 1


async def test_key_that_raises_is_the_callers_error():
    """A fault in ``key=`` reaches the caller; nothing is claimed."""
    once = Once()
    with pytest.raises(KeyError):
        await once.handle({})
    assert once.store.calls == []


async def test_key_sees_the_arguments_as_they_are_given():
    """Positional and keyword arguments, and ``self``, reach the key function."""

    class Service:
        def __init__(self) -> None:
            self.runs: list[Any] = []

        @deduplicate(MemoryStore(), key=lambda self, tenant, *, event: f"{tenant}/{event}")
        async def handle(self, tenant: str, *, event: str) -> str:
            self.runs.append((tenant, event))
            return "ok"

    service = Service()
    assert await service.handle("a", event="1") == "ok"
    assert await service.handle("a", event="1") is None
    assert await service.handle("b", event="1") == "ok"


class Service:
    """Whose methods are decorated in every way, each object with events of its own."""

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex
        self.runs: list[str] = []

    @deduplicate("memory://", key=lambda self, event: f"{self.name}/{event}")
    async def handle(self, event: str) -> str:
        """Handle it."""
        self.runs.append(event)
        return f"handled {event}"

    @staticmethod
    @deduplicate("memory://", key=lambda name: name)
    def static(name: str) -> str:
        return name

    @classmethod
    @deduplicate("memory://", key=lambda cls, name: name)
    def of_class(cls, name: str) -> str:
        return cls.__name__


class Branch(Service):
    async def handle(self, event: str) -> str | None:
        return await super().handle(event)


def test_blocking_form_of_a_method_keeps_its_object():
    """``.sync`` of a method is called as the method is."""
    one, other = Service(), Service()

    assert one.handle.sync("a") == "handled a"
    assert one.handle.sync("a") is None
    assert other.handle.sync(event="a") == "handled a"
    assert Service.handle.sync(other, "b") == "handled b"
    assert (one.runs, other.runs) == (["a"], ["a", "b"])


def test_blocking_form_of_a_class_method_keeps_its_class():
    """By ``__func__`` on every Python; where attributes know no class, the short form says so."""
    assert Branch.of_class.__func__.sync(Branch, Service().name) == "Branch"
    if sys.version_info >= (3, 13):
        with pytest.raises(TypeError, match=r"Service\.of_class\.__func__\.sync\(Service, …\)"):
            Branch.of_class.sync(Service().name)
    else:
        assert Branch.of_class.sync(Service().name) == "Branch"
    name = Service().name
    assert Service.static.sync(name) == name


def test_bound_methods_compare_as_methods_do():
    """Registries that keep handlers find them again and know their objects."""
    one, other = Service(), Service()

    assert one.handle == one.handle
    assert one.handle != other.handle
    assert one.handle != Service.handle
    assert {one.handle: 1}[one.handle] == 1
    assert one.handle.__self__ is one
    assert one.handle.__func__ is Service.handle


async def test_methods_are_bound_as_methods_are():
    """By an object, a class, a subclass; static ones and those of a class too."""
    service, branch = Service(), Branch()

    assert await service.handle("a") == "handled a"
    assert await Service.handle(service, "b") == "handled b"
    assert await branch.handle("a") == "handled a"
    assert await Service.static(service.name) == service.name
    assert await Branch.of_class(service.name) == "Branch"


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
@pytest.mark.parametrize("decorator", [deduplicate, idempotent])
def test_static_or_class_method_is_decorated_below(kind, decorator):
    """The other way round its object would be its argument, or each call of it an error."""
    with pytest.raises(ConfigError, match=f"write @{kind.__name__} above the other decorator"):

        class Shop:
            @decorator("memory://", key=the_id)
            @kind
            async def handle(*event: Any) -> None: ...


def test_decorated_methods_look_like_what_they_are():
    """Frameworks read name, signature and kind; a bound one has no ``self``."""
    for method, parameters in ((Service.handle, ["self", "event"]), (Service().handle, ["event"])):
        assert (method.__name__, method.__doc__) == ("handle", "Handle it.")
        assert inspect.iscoroutinefunction(method)
        assert list(inspect.signature(method).parameters) == parameters


async def test_callable_without_a_name_needs_a_scope_only():
    """Not everything that is called is a function."""
    runs: list[Any] = []
    handle = deduplicate(MemoryStore(), key=the_id, scope="partial")(partial(runs.append))
    for _ in range(2):
        await handle(EVENT)
    assert runs == [EVENT]


# Scopes


async def test_two_functions_over_one_store_do_not_skip_each_other():
    """They share the store, and each has a scope of its own."""
    store = MemoryStore()
    runs: list[str] = []

    @deduplicate(store, key=the_id)
    async def one(event: Any) -> None:
        runs.append("one")

    @deduplicate(store, key=the_id)
    async def two(event: Any) -> None:
        runs.append("two")

    for _ in range(2):
        await one(EVENT)
        await two(EVENT)

    assert runs == ["one", "two"]
    assert len(store) == 2


async def test_two_functions_under_one_scope_share_their_events():
    """A scope that is given is the identity, whatever the function is called."""
    store = MemoryStore()
    runs: list[str] = []
    for name in ("before", "after"):

        @deduplicate(store, key=the_id, scope="orders")
        async def handle(event: Any, name: str = name) -> None:
            runs.append(name)

        await handle(EVENT)

    assert runs == ["before"]


async def test_middleware_and_decorator_over_one_store_do_not_skip_each_other():
    """The function behind the middleware runs for the event the middleware has claimed."""
    runs: list[Any] = []
    dedup = Dedup(MemoryStore(), sources=[source(ack="handled")])

    @deduplicate(dedup, key=the_id)
    async def handle(event: Any) -> None:
        runs.append(event)

    class Calling(Handler):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                await handle(EVENT)
            await super().__call__(scope, receive, send)

    app = WebhookDedup(Calling(), dedup=dedup)
    async with living(app):
        assert (await deliver(app)).status == 200
        assert (await deliver(app)).status == 200

    assert runs == [EVENT]


# Stores


async def test_store_away_raises_by_default_and_runs_nothing():
    """A caller that can wait is told; nothing runs without a claim."""
    once = Once()
    once.store.away.add("claim")
    with pytest.raises(StoreUnavailable):
        await once.handle(EVENT)

    assert once.runs == []
    assert once.records.kinds == ["store_error"]


async def test_store_away_may_be_ignored():
    """``on_store_error="process"`` prefers two runs to none."""
    once = Once(policy=Policy(on_store_error="process"))
    once.store.away.add("claim")

    assert await once.handle(EVENT) == "handled"
    assert once.records.kinds == ["store_error", "started", "succeeded"]
    assert once.records.all[-1].detail is None


@in_virtual_time
async def test_store_away_at_the_completion_keeps_the_caller_for_a_moment_only():
    """A function that succeeded returns; its event is completed in the background."""
    store = CueStore(clock=LoopClock())
    once = Once(store)
    store.away.add("complete")

    assert await once.handle(EVENT) == "handled"
    store.away.clear()
    await asyncio.sleep(10)
    assert await once.handle(EVENT) is None


@in_virtual_time
async def test_completion_that_the_store_never_hears_of_is_no_lost_lease():
    """Nobody else had the event: what is recorded is that the store was away to the end."""
    store = CueStore(clock=LoopClock())
    once = Once(store)
    store.shut("complete")

    assert await once.handle(EVENT) == "handled"
    await once.dedup.stop()
    assert set(once.records.kinds) == {"started", "store_error"}


async def test_completion_taken_over_by_another_is_recorded_as_lease_lost():
    """A success whose event has another holder now is told as what it is."""
    once = Once()
    gate = asyncio.Event()
    once.outcomes = [gate]
    call = asyncio.ensure_future(once.handle(EVENT))
    await eventually(lambda: once.runs)
    [[key]] = once.store.keys_of("claim")
    await once.store.forget(key)
    await once.store.claim([a_bid(key)])
    gate.set()

    assert await call is not None
    assert once.records.kinds[-1] == "lease_lost"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either key=… or event_id=…"),
        ({"key": the_id, "event_id": "id"}, "either key=… or event_id=…"),
        ({"key": "id"}, "takes a function of the arguments, got 'id'; event_id="),
        ({"event_id": "header:"}, "header"),
        ({"event_id": "a.[["}, "JMESPath"),
        ({"key": the_id, "guards": [OneAtATime()]}, "would never act: events of @deduplicate"),
    ],
)
def test_wrong_options_are_refused_when_decorating(options, words):
    """A mistake shows at import, not at the first event."""
    with pytest.raises(ConfigError, match=words):
        deduplicate(MemoryStore(), **options)(lambda request: None)


@pytest.mark.parametrize("store", ["nosuch://x", "just text", "", 7, None])
def test_wrong_stores_are_refused_when_decorating(store):
    """So does a store that is none."""
    with pytest.raises(ConfigError):
        deduplicate(store, key=the_id)


def test_missing_power_is_refused_when_decorating():
    """A store that cannot compare bodies is refused where they must be compared."""

    class Forgetting(MemoryStore):
        name = "forgetting"
        remembers = Remembers.NOTHING

    with pytest.raises(MissingPower, match=r"on_mismatch='reject'.*fingerprint.*forgetting"):
        deduplicate(Forgetting(), event_id="id", policy=Policy(on_mismatch="reject"))


# Event loops, threads and processes


def test_module_level_function_works_on_one_event_loop_after_another(tmp_path):
    """As under a test runner: each loop has connections of its own, and closes them."""
    runs: list[Any] = []

    @deduplicate(f"sqlite:///{tmp_path}/events.db", key=the_id)
    async def handle(event: Any) -> str:
        runs.append(event["id"])
        return "handled"

    async def main(number: int) -> list[Any]:
        return [await handle({"id": "same"}), await handle({"id": f"loop {number}"})]

    assert asyncio.run(main(1)) == ["handled", "handled"]
    assert asyncio.run(main(2)) == [None, "handled"]
    assert runs == ["same", "loop 1", "loop 2"]
    names = {thread.name for thread in threading.enumerate()}
    assert not {name for name in names if "sqlite" in name.lower()}, "connections were closed"


def test_memory_outlives_event_loops():
    """What the ``memory://`` store knows lasts as long as the process."""
    runs: list[Any] = []

    @deduplicate("memory://", key=the_id, scope=f"test-{os.urandom(8).hex()}")
    async def handle(event: Any) -> None:
        runs.append(event)

    for _ in range(3):
        asyncio.run(handle(EVENT))
    assert runs == [EVENT]


def test_store_object_works_on_one_event_loop_after_another_and_stays_open():
    """A store that was passed in is not closed with a loop."""
    store = CueStore()
    closed: list[bool] = []
    store.aclose = lambda: closed.append(True)  # type: ignore[method-assign, assignment, return-value]  # a spy
    runs: list[Any] = []

    @deduplicate(store, key=the_id)
    async def handle(event: Any) -> None:
        runs.append(event)

    for _ in range(3):
        asyncio.run(handle(EVENT))
    assert (runs, closed) == ([EVENT], [])


def test_ended_loops_are_forgotten():
    """A long test run does not pile up one set of objects for each of its event loops."""
    from webhook_dedup import portal

    @deduplicate("memory://", key=the_id)
    async def handle(event: Any) -> None: ...

    for _ in range(5):
        asyncio.run(handle(EVENT))
    asyncio.run(handle(EVENT))

    assert len([loop for loop in portal._by_loop if loop.is_closed()]) <= 1


def test_sync_serves_code_without_an_event_loop():
    """``.sync()`` runs, skips, raises and sees the caller's context."""
    var: contextvars.ContextVar[str] = contextvars.ContextVar("request")
    var.set("this request")
    seen: list[str] = []

    @deduplicate(MemoryStore(), key=the_id)
    def handle(event: Any) -> int:
        seen.append(var.get())
        if event["id"] == "bad":
            raise LookupError("bad")
        return 5

    assert handle.sync(EVENT) == 5
    assert handle.sync(EVENT) is None
    with pytest.raises(LookupError):
        handle.sync({"id": "bad"})
    assert seen == ["this request"] * 2


def test_sync_from_many_threads_runs_once():
    """Threads of a worker share one store and one event loop."""
    runs: list[int] = []
    may_end = threading.Event()
    answers: list[Any] = []

    @deduplicate(MemoryStore(), key=the_id)
    async def handle(event: Any) -> str:
        runs.append(1)
        await asyncio.to_thread(may_end.wait, 30)
        return "handled"

    def caller() -> None:
        try:
            answers.append(handle.sync(EVENT))
        except InProgress:
            answers.append("in progress")

    threads = [threading.Thread(target=caller) for _ in range(12)]
    for thread in threads:
        thread.start()
    while len(answers) < 11:
        threads[0].join(0.01)
    may_end.set()
    for thread in threads:
        thread.join(30)

    assert len(runs) == 1
    assert sorted(answers) == ["handled", *["in progress"] * 11]


def test_plain_functions_that_wait_for_plain_functions_leave_them_threads():
    """However many of them block in ``.sync()``, what they wait for runs."""
    program = """
        import asyncio, os, threading
        from webhook_dedup import Dedup, deduplicate
        from webhook_dedup.threads import THREADS

        dedup, together = Dedup("memory://"), threading.Barrier(THREADS)

        @deduplicate(dedup, key=lambda event: event)
        def inner(event):
            return event

        @deduplicate(dedup, key=lambda event: event)
        def middle(event):
            together.wait(30)
            return inner.sync(event)

        @deduplicate(dedup, key=lambda event: event)
        def outer(event):
            together.wait(30)
            return middle.sync(event)

        async def main():
            await dedup.start()
            calls = [asyncio.ensure_future(outer(str(number))) for number in range(THREADS)]
            done, late = await asyncio.wait(calls, timeout=20)
            print(len(done), "done,", len(late), "late", flush=True)
            os._exit(0)  # late ones would hold it up for ever

        asyncio.run(main())
    """
    assert _python(program) == f"{THREADS} done, 0 late"


@pytest.mark.parametrize("kind", ["async def", "def"])
@pytest.mark.parametrize("error", ["SystemExit", "KeyboardInterrupt"])
def test_sync_outlives_a_function_that_ends_its_thread(kind, error):
    """What would end a process ends the call, and other calls find event and loop free."""
    program = f"""
        import os, threading
        from webhook_dedup import deduplicate

        runs = []

        @deduplicate("memory://", key=lambda event: event)
        {kind} handle(event):
            runs.append(event)
            if len(runs) == 1:
                raise {error}
            return f"{{event}} again"

        def calls():
            try:
                handle.sync("run")
            except {error}:
                print("ended")
            print(handle.sync("run"), flush=True)

        caller = threading.Thread(target=calls, daemon=True)
        caller.start()
        caller.join(20)
        os._exit(0)
    """
    assert _python(program).splitlines() == ["ended", "run again"]


def test_sync_interrupted_cancels_what_it_waits_for():
    """A caller that is torn away, as by a task's time limit, leaves no handler behind."""
    program = """
        import asyncio, signal, sys, time
        from webhook_dedup import deduplicate
        from webhook_dedup.stores import MemoryStore

        class TimeLimit(BaseException): ...
        def stop(*_): raise TimeLimit
        signal.signal(signal.SIGALRM, stop)
        ended = []

        @deduplicate(MemoryStore(), key=lambda event: event)
        async def handle(event):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            try:
                await asyncio.sleep(60 if not ended else 0)
            finally:
                ended.append(event)
            return "ran again"

        try:
            handle.sync("e")
        except TimeLimit:
            while not ended:
                time.sleep(0.01)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        while True:
            try:
                print(handle.sync("e"))
                break
            except Exception:
                time.sleep(0.01)
    """
    assert _python(program) == "ran again"


def test_sync_works_after_a_fork():
    """A forked worker, which inherits no threads, has an event loop and threads of its own."""
    program = """
        import os
        from webhook_dedup import deduplicate

        @deduplicate("memory://", key=lambda event: event)
        def handle(event):
            return event

        print(handle.sync("parent"), flush=True)  # or the child has it to print, too
        child = os.fork()
        if child == 0:
            print(handle.sync("child"), flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(handle.sync("parent again"))
    """
    assert _python(program).splitlines() == ["parent", "child", "parent again"]


def test_process_with_open_stores_ends():
    """A script that used ``.sync()`` over a real store exits by itself."""
    program = """
        import sys, tempfile
        from webhook_dedup import deduplicate

        @deduplicate(f"sqlite:///{tempfile.mkdtemp()}/events.db", key=lambda event: event)
        def handle(event):
            return event

        print(handle.sync("a"), handle.sync("a"))
    """
    assert _python(program) == "a None"


def _python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.strip()


async def test_fifty_calls_at_once_run_once_on_a_real_store(lasting_url):
    """The race, on every store that several processes can share."""
    runs: list[Any] = []

    @deduplicate(lasting_url, key=the_id, scope=f"race-{os.urandom(8).hex()}")
    async def handle(event: Any) -> str:
        runs.append(event)
        await asyncio.sleep(0)
        return "handled"

    answers = await asyncio.gather(*(handle(EVENT) for _ in range(50)), return_exceptions=True)
    late = await handle(EVENT)

    assert len(runs) == 1
    assert answers.count("handled") == 1
    assert all(
        answer == "handled" or answer is None or isinstance(answer, InProgress)
        for answer in answers
    ), answers
    assert late is None


def _race(url: str, scope: str, barrier: Any, results: Any) -> None:
    runs: list[int] = []

    @deduplicate(url, key=the_id, scope=scope)
    def handle(event: Any) -> None:
        runs.append(event["id"])

    async def main() -> None:
        for number in range(10):
            barrier.wait(60)
            copies = (handle({"id": str(number)}) for _ in range(10))
            await asyncio.gather(*copies, return_exceptions=True)

    asyncio.run(main())
    results.put(runs)


def test_calls_from_several_processes_run_once(lasting_url):
    """Three processes, ten copies in each, ten rounds: each event has one run."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(3), context.Queue()
    args = (lasting_url, f"race-{os.urandom(8).hex()}", barrier, results)
    processes = [context.Process(target=_race, args=args) for _ in range(3)]
    for process in processes:
        process.start()
    runs = [name for _ in processes for name in results.get(timeout=120)]
    for process in processes:
        process.join(60)

    assert sorted(runs) == sorted(str(number) for number in range(10))


@in_virtual_time
async def test_success_is_recorded_when_the_store_has_it():
    """A call that ended while the store is away counts as succeeded once the store knows it."""
    once = Once(CueStore(clock=LoopClock()))
    gate = once.store.shut("complete")
    assert await once.handle(EVENT) == "handled"
    assert once.records.kinds == ["started", "store_error"]
    gate.set()
    await asyncio.sleep(1)
    assert once.records.kinds == ["started", "store_error", "succeeded"]
