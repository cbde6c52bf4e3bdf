"""``@idempotent``: the first result for everybody."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel, SecretStr

from webhook_dedup import (
    AlreadyDone,
    ConfigError,
    Dedup,
    Discard,
    InProgress,
    StoreUnavailable,
    idempotent,
)
from webhook_dedup.errors import IdempotencyMismatch, MissingPower, UnstorableResult
from webhook_dedup.stores import MemoryStore, open_store

from ..core.kit import CueStore, Records


class Colour(enum.Enum):
    RED = "red"


class Inbox(BaseModel):
    id: UUID
    owner: str
    made_at: datetime


@dataclass
class Line:
    price: Decimal
    colour: Colour = Colour.RED


@dataclass
class Order:
    id: int
    lines: list[Line] = field(default_factory=list)
    note: str | None = None


@dataclass
class Loose:
    parts: Any


@dataclass(eq=False)
class Nameless:
    id: int


class Key(BaseModel):
    secret: SecretStr


class Pair(NamedTuple):
    left: int
    right: int


def numbered(rows) -> list[str]:
    """Names for parametrised rows that are the same in every process."""
    return [f"{number}-{type(row[1]).__name__}" for number, row in enumerate(rows)]


def by_id(client_id, *_: Any) -> Any:
    return client_id


async def test_first_result_for_everybody(store_url, fresh_key):
    """On every store later calls return the first result and run nothing."""
    runs = []

    @idempotent(store_url, key=by_id)
    async def create(client_id, username):
        runs.append(username)
        return {"id": len(runs), "owner": username}

    first = await create(fresh_key, "ada")
    assert first == {"id": 1, "owner": "ada"}
    assert await create(fresh_key, "ada") == first
    assert runs == ["ada"]
    assert (await create(fresh_key + "-2", "bob"))["id"] == 2


async def test_a_failure_stores_nothing(store_url, fresh_key):
    """On every store a call that raised may be made again, and its success is what is kept."""
    outcomes = [OSError("no route"), "made", "never"]

    @idempotent(store_url, key=by_id)
    async def create(client_id):
        outcome = outcomes.pop(0)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    with pytest.raises(OSError, match="no route"):
        await create(fresh_key)
    assert [await create(fresh_key), await create(fresh_key)] == ["made", "made"]


async def test_a_second_caller_is_in_progress_or_waits(store_url, fresh_key):
    """On every store a concurrent caller is sent away at once, or waits for the first result."""
    inside, leave = asyncio.Event(), asyncio.Event()

    async def create(client_id):
        inside.set()
        await leave.wait()
        return "made"

    hasty = idempotent(store_url, key=by_id, scope=fresh_key)(create)
    patient = idempotent(store_url, key=by_id, scope=fresh_key, wait=30)(create)
    first = asyncio.ensure_future(hasty("a"))
    await inside.wait()
    waiting = asyncio.ensure_future(patient("a"))
    with pytest.raises(InProgress) as caught:
        await hasty("a")
    assert 0 < caught.value.retry_after <= 30
    leave.set()
    assert [await first, await waiting] == ["made", "made"]


async def test_a_waiting_caller_takes_over_from_a_failed_one(fresh_key):
    """When the first caller fails, one that waits runs in its place."""
    inside, leave = asyncio.Event(), asyncio.Event()
    runs = []

    @idempotent("memory://", key=by_id, scope=fresh_key, wait=30)
    async def create(client_id):
        runs.append(1)
        inside.set()
        await leave.wait()
        if len(runs) == 1:
            raise OSError("no route")
        return "made"

    first = asyncio.ensure_future(create("a"))
    await inside.wait()
    others = [asyncio.ensure_future(create("a")) for _ in range(3)]
    await asyncio.sleep(0)
    leave.set()
    assert isinstance((await asyncio.gather(first, return_exceptions=True))[0], OSError)
    assert await asyncio.gather(*others) == ["made"] * 3
    assert len(runs) == 2


async def test_waiting_is_bounded(fresh_key):
    """A caller that has waited its time is told to come back."""
    inside = asyncio.Event()

    @idempotent("memory://", key=by_id, scope=fresh_key, wait=0.1)
    async def create(client_id):
        inside.set()
        await asyncio.Event().wait()

    first = asyncio.ensure_future(create("a"))
    await inside.wait()
    with pytest.raises(InProgress):
        await create("a")
    first.cancel()
    await asyncio.wait([first])


RESULTS = [
    (Any, None),
    (Any, 0),
    (Any, ""),
    (Any, False),
    (Any, {}),
    (Any, [1, 2.5, "ü", None, {"deep": [True]}]),
    (dict[str, list[int]], {"a": [1]}),
    (dict[int, str], {1: "a", 2: "b"}),
    (list[dict[float, int]] | None, [{1.5: 1}]),
    (dict[bool, Any], {True: {"a": [1]}}),
    (int | None, None),
    (Inbox, Inbox(id=uuid4(), owner="ada", made_at=datetime(2026, 1, 1, tzinfo=timezone.utc))),
    (Order, Order(1, [Line(Decimal("9.90"))])),
    (list[Order], [Order(1), Order(2, note="x")]),
    (Inbox | None, None),
    (tuple[int, str], (1, "a")),
    (set[int], {1, 2}),
    (datetime, datetime(2026, 1, 1, tzinfo=timezone.utc)),
    (Pair, Pair(1, 2)),
    (bytes, b"bytes"),
]


@pytest.mark.parametrize(("kind", "value"), RESULTS, ids=numbered(RESULTS))
@pytest.mark.parametrize("told", ["annotation", "result_type"])
async def test_results_come_back_as_they_were(fresh_key, kind, value, told):
    """JSON values, falsy ones too, dataclasses and models come back equal and of their type."""

    async def make(client_id):
        return value

    if told == "annotation":
        make.__annotations__ = {"return": kind}
    made = idempotent(
        "memory://",
        key=by_id,
        scope=fresh_key,
        result_type=kind if told == "result_type" else None,
    )(make)
    results = [await made("a"), await made("a")]
    assert results == [value, value]
    assert type(results[1]) is type(value)


UNSTORABLE = [
    (Any, object(), "not JSON serializable"),
    (Any, float("nan"), "JSON compliant"),
    (Any, (1, 2), "come back as a list"),
    (Any, {1: "a"}, "keys of another type"),
    (Any, {"pair": (1, 2)}, "with tuples"),
    (dict[int | str, str], {1: "a"}, "keys of another type"),
    (dict[int, str], {"a": "b"}, "return what its type"),
    (dict[tuple[int, int], str], {(1, 2): "a"}, "return what its type"),
    (Any, Colour.RED, "not JSON serializable"),
    (Any, Order(1), "not JSON serializable"),
    (Inbox, {"owner": "ada"}, "Inbox|owner|dict"),
    (Line, Order(1), "Line|Order"),
    (Loose, Loose({"at": datetime(2026, 1, 1, tzinfo=timezone.utc)}), "other values"),
    (list[Loose], [Loose([1]), Loose((1, 2))], "with tuples"),
    (Key, Key(secret=SecretStr("s3cret")), "other values"),
]


@pytest.mark.parametrize(("kind", "value", "why"), UNSTORABLE, ids=numbered(UNSTORABLE))
async def test_results_that_cannot_be_stored(fresh_key, kind, value, why):
    """The error says what to change, nothing is stored, and the call may be made again."""
    values = [value, value]

    async def make(client_id):
        return values.pop()

    make.__annotations__ = {"return": kind}
    make = idempotent("memory://", key=by_id, scope=fresh_key)(make)
    for _ in range(2):
        with pytest.raises(UnstorableResult, match=why) as caught:
            await make("a")
    assert "return annotation" in str(caught.value)
    assert values == []


async def test_results_that_are_equal_to_no_other(fresh_key):
    """A type without an equality of its own is stored like any other."""

    @idempotent("memory://", key=by_id, scope=fresh_key)
    async def make(client_id) -> list[Nameless]:
        return [Nameless(1)]

    assert [[each.id for each in await make("a")] for _ in range(2)] == [[1], [1]]


async def test_results_that_fit_no_more(fresh_key):
    """A type that has changed since is told of by the function's name, and nothing runs again."""

    async def make(client_id) -> int:
        return 1

    await idempotent("memory://", key=by_id, scope=fresh_key)(make)("a")
    changed = idempotent("memory://", key=by_id, scope=fresh_key, result_type=Order)(make)
    with pytest.raises(UnstorableResult, match=r"result of .*make does not fit the type"):
        await changed("a")


async def test_types_that_cannot_be_stored_at_all(fresh_key):
    """A type nothing can be made of is refused before the function runs."""

    @idempotent("memory://", key=by_id, scope=fresh_key, result_type=object())
    async def make(client_id):
        pytest.fail("it ran")

    with pytest.raises(ConfigError, match="cannot be stored"):
        await make("a")


async def test_annotations_that_cannot_be_read(fresh_key):
    """An annotation that names nothing asks for ``result_type``."""

    @idempotent("memory://", key=by_id, scope=fresh_key)
    async def make(client_id) -> "Nowhere":  # noqa: F821, UP037 - what is refused
        pytest.fail("it ran")

    with pytest.raises(ConfigError, match="result_type"):
        await make("a")


async def test_fingerprint(store_url, fresh_key):
    """On every store a call that differs where it must not is refused; others get the result."""

    @idempotent(store_url, key=by_id, scope=fresh_key, fingerprint=lambda _, body, db: body)
    async def create(client_id, body, db):
        return body["n"]

    assert await create("a", {"n": 1, "m": 2}, object()) == 1
    assert await create("a", {"m": 2, "n": 1}, object()) == 1
    with pytest.raises(IdempotencyMismatch, match="'a' came before with another request"):
        await create("a", {"n": 2, "m": 2}, object())


@pytest.mark.parametrize("first", [None, "x", 0], ids=str)
async def test_null_is_a_fingerprint(store_url, fresh_key, first):
    """Null is a JSON value like any other: what was left out first must be left out again."""

    @idempotent(store_url, key=by_id, scope=fresh_key, fingerprint=lambda _, note: note)
    async def create(client_id, note):
        return note

    assert [await create("a", first), await create("a", first)] == [first, first]
    with pytest.raises(IdempotencyMismatch):
        await create("a", "y" if first is None else None)


async def test_reused_key_is_recorded_as_a_warning():
    """A caller that gives one key to two requests is a fault for a person to look at."""
    records = Records()
    dedup = Dedup("memory://", observers=[records])

    @idempotent(dedup, key=by_id, fingerprint=lambda _, body: body)
    async def create(client_id, body):
        return body

    await create("a", 1)
    await create("a", 1)
    with pytest.raises(IdempotencyMismatch):
        await create("a", 2)
    skips = [record for record in records.all if record.kind == "skipped"]
    assert [(skip.body_changed, skip.warning) for skip in skips] == [(None, False), (True, True)]


async def test_fingerprint_that_is_no_json(fresh_key):
    """A fingerprint that could differ by chance is refused."""

    @idempotent("memory://", key=by_id, scope=fresh_key, fingerprint=lambda _: object())
    async def create(client_id):
        pytest.fail("it ran")

    with pytest.raises(ConfigError, match="JSON"):
        await create("a")


async def test_keys_of_parts_never_meet(fresh_key):
    """A tuple is a key of parts, joined without ambiguity; a part that is none is refused."""

    @idempotent("memory://", key=lambda *parts: parts, scope=fresh_key)
    async def create(*parts):
        return list(parts)

    for parts in [("a", "bc"), ("ab", "c"), ("a:1", "b"), ("a", "1:b"), (1, 23), (12, 3)]:
        assert await create(*parts) == list(parts)
    for part in [None, "", " "]:
        with pytest.raises(ConfigError, match="needs a key"):
            await create("caller", part)


async def test_scopes_are_the_functions(fresh_key):
    """Two functions with equal keys have results of their own."""

    @idempotent("memory://", key=by_id)
    async def one(client_id):
        return 1

    @idempotent("memory://", key=by_id)
    async def two(client_id):
        return 2

    assert [await one(fresh_key), await two(fresh_key)] == [1, 2]


async def test_discarded_calls_have_no_result(fresh_key):
    """A call that was discarded for good says so to those who want its result."""

    @idempotent("memory://", key=by_id, scope=fresh_key)
    async def create(client_id):
        raise Discard("no such customer")

    with pytest.raises(Discard):
        await create("a")
    with pytest.raises(AlreadyDone):
        await create("a")


async def test_store_away(fresh_key):
    """While the store is away nothing runs."""
    store = CueStore()
    store.away.add("claim")
    dedup = Dedup(store)

    @idempotent(dedup, key=by_id)
    async def create(client_id):
        pytest.fail("it ran")

    with pytest.raises(StoreUnavailable):
        await create("a")
    await dedup.stop()


async def test_records_and_signature():
    """The wrapper looks like its function, and records runs and skips under its name."""
    records = Records()
    dedup = Dedup(MemoryStore(), observers=[records])

    @idempotent(dedup, key=by_id)
    async def create(client_id: str) -> str:
        """Make one."""
        return client_id

    assert (create.__name__, create.__doc__) == ("create", "Make one.")
    await create("a")
    await create("a")
    assert records.kinds == ["started", "succeeded", "skipped"]
    assert records.all[0].source.endswith("create")
    await dedup.stop()


async def test_plain_functions_run_in_threads(fresh_key):
    """A plain ``def`` is awaited, and many at once run once."""
    runs = []

    @idempotent("memory://", key=by_id, scope=fresh_key, wait=30)
    def create(client_id):
        runs.append(client_id)
        return len(runs)

    assert set(await asyncio.gather(*(create("a") for _ in range(20)))) == {1}


class Shop:
    async def __call__(self, client_id: str) -> Order:
        return Order(5)


async def _order(number: int, client_id: str) -> Order:
    return Order(number)


@pytest.mark.parametrize("function", [Shop(), partial(_order, 5), partial(partial(_order), 5)])
async def test_results_of_what_is_no_function_come_back_by_its_annotation(function):
    """An object that is called and a partial have the annotations of what they call."""
    create = idempotent(MemoryStore(), key=by_id, scope="orders")(function)

    assert [await create("a"), await create("a")] == [Order(5)] * 2


def test_sync(tmp_path):
    """``.sync`` gives the first result to code without an event loop."""
    runs = []

    @idempotent(f"sqlite:///{tmp_path}/store.db", key=by_id)
    async def create(client_id) -> Order:
        runs.append(client_id)
        return Order(len(runs))

    assert [create.sync("a"), create.sync("a"), create.sync("b")] == [Order(1), Order(1), Order(2)]


def test_blocking_form_of_a_method_keeps_its_object(fresh_key):
    """``.sync`` of a method is called as the method is."""

    class Desk:
        def __init__(self, name) -> None:
            self.name = name

        @idempotent("memory://", key=lambda self, order: (self.name, order), scope=fresh_key)
        def open(self, order) -> str:
            return f"{self.name} opened {order}"

    assert Desk("a").open.sync("o1") == "a opened o1"
    assert asyncio.run(Desk("b").open("o1")) == "b opened o1"


@pytest.mark.parametrize("options", [{"key": "id"}, {"key": by_id, "fingerprint": "id"}])
def test_options_that_are_no_functions_are_refused(options):
    """A mistake shows when decorating, by name."""
    with pytest.raises(ConfigError, match=r"=…\) takes a function of the arguments, got 'id'"):
        idempotent("memory://", **options)


def test_stores_without_results_are_refused():
    """A store that keeps no results cannot do this, and the error names one that can."""
    with pytest.raises(MissingPower, match=r"remembers result; bloom"):
        idempotent(open_store("bloom://?capacity=1000"), key=by_id)


async def test_cancelled_callers_free_the_key(fresh_key):
    """A caller that is cancelled stores nothing; the next one runs."""
    inside = asyncio.Event()
    runs = []

    @idempotent("memory://", key=by_id, scope=fresh_key)
    async def create(client_id):
        runs.append(1)
        if len(runs) == 1:
            inside.set()
            await asyncio.Event().wait()
        return "made"

    task = asyncio.ensure_future(create("a"))
    await inside.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert await create("a") == "made"
