"""The history keeps what was recorded, within its bounds, and answers questions about it."""

import asyncio
import itertools
import logging
import os
import time

import pytest
from msgspec.structs import replace

from tests.asgi.kit import until
from tests.observe.aging import age, expiries
from webhook_dedup import ConfigError, StoreUnavailable, open_store
from webhook_dedup.model import Delivery
from webhook_dedup.observe.history import History
from webhook_dedup.observe.history.ledger import open_ledger
from webhook_dedup.observe.history.page import Kept, Page, Pen, read_page
from webhook_dedup.observe.record import Kind, Record

NOW = 1_700_000_000.0
PATIENCE = 60


@pytest.fixture
async def history(place):
    history = History(place, every=0.01)
    yield history
    await history.aclose()


def told(kind, event_id="evt_1", *, source="shop", at=NOW, **fields):
    return Record(kind, source, event_id=event_id, at=at, **fields)


async def keep(history, *records):
    for record in records:
        history.record(record)
    assert await history.flush()


def ids(entries):
    return [entry.record.event_id for entry in entries]


async def test_a_record_comes_back_whole(history):
    """Every field of a record, and the traceback of its error, is kept."""
    error = None
    try:
        int("too \ud800 much \0")
    except ValueError as exc:
        error = exc
    record = told(
        Kind.FAILED,
        "evt \0 \ud800 ü",
        event_type="charge",
        tenant="acme",
        delivery_id="d1",
        reason="why",
        detail="a\nb",
        status=500,
        first_seen=NOW - 1,
        age=1.0,
        body_changed=True,
        original="done",
        attempt=2,
        delay=0.5,
        duration=0.25,
        warning=True,
        error=error,
    )
    await keep(history, record)
    (entry,) = await history.find()
    assert entry.record == replace(record, error=None)
    assert entry.traceback is not None
    assert entry.traceback.startswith("Traceback")
    assert "test_history" in entry.traceback
    assert entry.by.rpartition(":")[2].isdigit()
    assert [entry] == list(await history.story("evt \0 \ud800 ü"))


async def test_filters(history):
    """Each filter leaves out what it does not mean; the latest come first."""
    await keep(
        history,
        told(Kind.RECEIVED, "evt_A", at=NOW),
        told(Kind.SKIPPED, "evt_B", reason="duplicate", at=NOW + 1),
        told(Kind.SKIPPED, "evt_C", reason="filtered", at=NOW + 2),
        told(Kind.RECEIVED, "other", source="github", at=NOW + 3),
        told(Kind.REJECTED, None, at=NOW + 4),
    )
    assert ids(await history.find()) == [None, "other", "evt_C", "evt_B", "evt_A"]
    assert ids(await history.find(source="github")) == ["other"]
    assert ids(await history.find(kind="skipped")) == ["evt_C", "evt_B"]
    assert ids(await history.find(reason="duplicate")) == ["evt_B"]
    assert ids(await history.find(event_id="VT_a")) == ["evt_A"]
    assert ids(await history.find(event_id="%")) == []
    assert ids(await history.find(since=NOW + 1, until=NOW + 3)) == ["evt_C", "evt_B"]
    assert ids(await history.find(source="nobody")) == []


async def test_pages(history):
    """Pages follow each other without a gap, also where a filter leaves most out."""
    kinds = itertools.cycle([Kind.RECEIVED, Kind.STARTED, Kind.SUCCEEDED])
    records = [told(next(kinds), f"evt_{n}", at=NOW + n) for n in range(700)]
    await keep(history, *records)
    found, after = [], ""
    while page := await history.find(kind="started", limit=50, after=after, until=NOW + 690):
        found += page
        after = page[-1].id
    expected = [r.event_id for r in records[:690] if r.kind is Kind.STARTED]
    assert ids(found) == expected[::-1]


async def test_a_story_is_one_event_of_one_source(history):
    """A story has the records of exactly one id in their order; a source narrows it."""
    await keep(
        history,
        told(Kind.SUCCEEDED, at=NOW + 2),
        told(Kind.RECEIVED, at=NOW),
        told(Kind.STARTED, at=NOW + 1),
        told(Kind.RECEIVED, "evt_11", at=NOW),
        told(Kind.RECEIVED, source="other", at=NOW + 3),
    )
    story = await history.story("evt_1")
    assert [entry.record.kind.value for entry in story] == [
        "received",
        "started",
        "succeeded",
        "received",
    ]
    assert len(await history.story("evt_1", "other")) == 1
    assert await history.story("nothing") == []


async def test_secrets_are_masked_and_bodies_left_out(place):
    """Of an arrival the request line and its headers are kept; secrets and bodies are not."""
    delivery = Delivery(
        "d1",
        "shop",
        "POST",
        "/hooks",
        headers=(
            (b"X-Signature", b"hush-1"),
            (b"X-Mine", b"hush-2"),
            (b"X-Kept", b"<b>"),
        ),
        body=b"hush-3",
        query_string=b"token=hush-4&a=b",
        received_at=NOW,
        client=("10.0.0.1", 1),
    )
    record = Record(Kind.RECEIVED, "shop", event_id="evt_1", delivery=delivery, at=NOW)
    history = History(place, mask_headers=["x-mine"])
    await keep(history, record)
    (entry,) = await history.find()
    assert entry.request is not None
    assert entry.request.headers == (
        ("X-Signature", "***"),
        ("X-Mine", "***"),
        ("X-Kept", "<b>"),
    )
    assert (entry.request.query, entry.request.client) == ("token=***&a=b", "10.0.0.1")
    assert (entry.request.size, entry.request.body) == (6, None)
    (page,) = await history._ledger.since(0, 10)
    assert "hush" not in page.data
    await history.aclose()
    asked = History(place, bodies=True)
    await keep(asked, replace(record, at=NOW + 1))
    assert (await asked.find())[0].request.body == b"hush-3"
    await asked.aclose()


async def test_the_store_may_share_its_connection(place):
    """A history beside a store is found again by its URL, and leaves the store open."""
    store = open_store(place)
    history = History(store)
    await keep(history, told(Kind.RECEIVED))
    await history.aclose()
    reader = History(place, create=False)
    assert ids(await reader.find()) == ["evt_1"]
    await reader.aclose()
    assert await store.look(["a key"]) == [None]
    await store.aclose()


async def test_writing_again_changes_nothing(place):
    """A batch whose answer was lost is written again and is there once."""
    history = History(place, every=0.01)
    write, lost = history._ledger.write, []

    async def lose_the_answer(pages, keep):
        await write(pages, keep)
        if not lost:
            lost.append(pages)
            raise StoreUnavailable("the answer was lost")

    history._ledger.write = lose_the_answer
    history.record(told(Kind.RECEIVED))
    assert not await history.flush()
    assert await history.flush()
    assert lost
    assert ids(await history.find()) == ["evt_1"]
    await history.aclose()


async def test_bounded_by_count(place):
    """Beyond the number to keep the first written are deleted, with all that leads to them."""
    history = History(place, most=120, trim_every=0.001)
    for start in range(0, 1000, 50):
        await keep(history, *(told(Kind.RECEIVED, f"evt_{n}") for n in range(start, start + 50)))
        await asyncio.sleep(0.003)
    left = ids(await history.find(limit=1000))
    assert len(left) == 150  # the pages that are needed for 120
    assert left[0] == "evt_999"
    assert await history.story("evt_0") == []
    assert len(await history.story("evt_999")) == 1
    await history.aclose()


async def test_bounded_by_time(place):
    """What is older than it is to be kept, by the clock of its place, is deleted."""
    history = History(place, keep=60, trim_every=0.001)
    await keep(history, told(Kind.RECEIVED, "old"))
    await age(history, 61)
    await keep(history, told(Kind.RECEIVED, "new"))
    assert ids(await history.find()) == ["new"]
    await history.aclose()


async def test_what_is_trimmed_leaves_nothing_behind(place):
    """Old pages go a few at a time, are counted once and take what leads to them along."""
    history = History(place, trims=False)
    for number in range(5):
        await keep(history, told(Kind.RECEIVED, f"evt_{number}"))
    await age(history, 3_600)
    trims = [await history._ledger.trim(60, 1_000, 2) for _ in range(4)]
    assert trims == [2, 2, 1, 0]
    assert [key.rpartition(b":")[2] for key in await expiries(history)] in ([], [b"size"])
    await history.aclose()


async def test_several_processes_trim_together(place):
    """Histories of several processes that trim at once neither fail nor delete too much."""
    many = [History(place, most=50, trim_every=0.001) for _ in range(4)]
    for turn in range(5):
        await asyncio.gather(
            *(keep(each, *(told(Kind.RECEIVED, f"{turn}-{n}") for n in range(20))) for each in many)
        )
    await keep(many[0], told(Kind.RECEIVED, "last"))
    left = await many[0].find(limit=1000)
    assert 50 <= len(left) < 50 + 20
    for each in many:
        await each.aclose()


async def collect(entries, number):
    found = []
    async for entry in entries:
        found.append(entry)
        if len(found) == number:
            return found
    return found


async def test_tail_sees_what_others_write(place):
    """A reader gets each entry once, in order, from where it was told to begin."""
    writer, reader = History(place), History(place)
    await keep(writer, told(Kind.RECEIVED, "before"))
    (before,) = await writer.find()
    looks, since = [], reader._ledger.since

    async def look(*asked):
        looks.append(asked)
        return await since(*asked)

    reader._ledger.since = look
    live = asyncio.ensure_future(collect(reader.tail(every=0.01), 500))
    await until(lambda: looks)
    late = asyncio.ensure_future(collect(reader.tail(before.id, every=0.01), 500))
    for start in range(0, 500, 50):
        await keep(writer, *(told(Kind.STARTED, f"evt_{n}") for n in range(start, start + 50)))
    expected = [f"evt_{n}" for n in range(500)]
    assert ids(await asyncio.wait_for(live, PATIENCE)) == expected
    assert ids(await asyncio.wait_for(late, PATIENCE)) == expected
    await writer.aclose()
    await reader.aclose()


class Away:
    """A ledger that is away until it is told to be back."""

    def __init__(self):
        self.back = False
        self.pages = []

    async def write(self, pages, _keep):
        if not self.back:
            raise StoreUnavailable("told to be away")
        self.pages += pages

    @property
    def events(self):
        """The ids of the events that were written, in their order."""
        kept = (Kept(page.id, page.data, 0.0) for page in self.pages)
        return [entry.record.event_id for page in kept for entry in read_page(page)]

    async def trim(self, *_):
        return 0

    async def aclose(self):
        """Nothing to free."""


@pytest.fixture
def away(tmp_path):
    history = History(f"sqlite:///{tmp_path}/history.db", room=100, every=0.01)
    history._ledger = Away()
    return history


async def test_a_full_buffer_drops_and_counts(away, caplog):
    """While the place is away nobody waits: what finds no room is counted, and told once."""
    for n in range(150):
        away.record(told(Kind.RECEIVED, f"evt_{n}"))
    assert not await away.flush()
    for n in range(150):
        away.record(told(Kind.RECEIVED, f"late_{n}"))
    assert not await away.flush()
    assert away.dropped == 200
    assert [r.levelno for r in caplog.records] == [logging.WARNING] * 2
    away._ledger.back = True
    assert await away.flush()
    assert away._ledger.events == [f"evt_{n}" for n in range(100)]
    assert "200 records were dropped" in caplog.text
    await away.aclose()


async def test_it_writes_again_by_itself(away):
    """When the place is back, what waited is written without anybody's help."""
    away.record(told(Kind.RECEIVED))
    await asyncio.sleep(0.03)
    away._ledger.back = True
    deadline = time.monotonic() + PATIENCE
    while not away._ledger.pages:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    await away.aclose()


async def test_the_end_tells_what_is_lost(away, caplog):
    """What cannot be written at the end is counted and told, and nothing is called full."""
    away.record(told(Kind.RECEIVED))
    await away.aclose()
    assert away.dropped == 1
    assert "ends without 1 record" in caplog.text
    assert "full" not in caplog.text


async def test_nothing_holds_on_to_deliveries(away):
    """Records that wait for an absent place are text, and bounded in bytes."""
    away.record(told(Kind.FAILED, error=ValueError("x")))
    await away.flush()
    assert not away._writer._taken
    assert len(away._writer._pages) == 1


async def test_close_and_start_again(place):
    """A history that was closed is opened again by the next start or record."""
    history = History(place)
    await history.start()
    await keep(history, told(Kind.RECEIVED, "first"))
    await history.aclose()
    await history.start()
    await keep(history, told(Kind.RECEIVED, "second", at=NOW + 1))
    await history.aclose()
    await keep(history, told(Kind.RECEIVED, "third", at=NOW + 2))
    assert ids(await history.find()) == ["third", "second", "first"]
    await history.aclose()


def test_an_ended_loop_is_no_obstacle(tmp_path):
    """One history serves event loops that follow each other."""
    history = History(f"sqlite:///{tmp_path}/history.db", every=0.01)

    async def serve(event_id):
        history.record(told(Kind.RECEIVED, event_id))
        await history.aclose()

    asyncio.run(serve("first"))
    asyncio.run(serve("second"))

    async def read():
        try:
            return await history.find()
        finally:
            await history.aclose()

    assert sorted(ids(asyncio.run(read()))) == ["first", "second"]


async def test_what_cannot_be_read_says_so(place):
    """An entry of another release does not hide its neighbours."""
    history = History(place)
    await keep(history, told(Kind.RECEIVED))
    (kept,) = await history._ledger.since(0, 10)
    texts = [
        '{"kind": "unheard"}',
        "no json",
        "[1]",
        '["me", [[["shop"], [["unheard", 1]], null]]]',
    ]
    odd = [
        Page(f"{kept.id}{n}", 1, {"shop"}, set(), set(), set(), text)
        for n, text in enumerate(texts)
    ]
    await history._ledger.write(odd, None)
    entries = await history.find()
    assert len(entries) == 5
    assert sum("another release" in (entry.record.detail or "") for entry in entries) == 4
    await history.aclose()


@pytest.mark.parametrize(
    ("place", "options", "says"),
    [
        ("memory://", {}, "cannot be kept in memory"),
        ("bloom://", {}, "cannot be kept in bloom"),
        ("nothing", {}, "cannot be kept in nothing"),
        ("sqlite:///x.db", {"keep": 0}, "keep must be"),
        ("sqlite:///x.db", {"most": 0}, "most and room"),
        ("redis://localhost?prefix={}", {}, "must not contain"),
    ],
)
def test_refused(place, options, says):
    """What cannot work is refused when it is built."""
    with pytest.raises(ConfigError, match=says):
        History(place, **options)


async def test_a_reader_makes_no_table(place):
    """Looking where nothing was kept makes nothing."""
    ledger = open_ledger(place, create=False)
    if ledger.name == "redis":
        assert await ledger.since(0, 10) == []
    else:
        with pytest.raises(Exception, match="absent"):
            await ledger.since(0, 10)
    await ledger.aclose()


async def test_what_is_written_together_is_told_apart(history):
    """The records of deliveries that share a page are found, paged and followed one by one."""
    kinds = (Kind.RECEIVED, Kind.STARTED, Kind.SUCCEEDED)
    many = [
        told(kind, f"evt_{n}", delivery_id=str(n), at=NOW + n) for n in range(3) for kind in kinds
    ]
    await keep(history, *many)
    assert len(await history._ledger.since(0, 100)) == 1
    entries = await history.find()
    assert [entry.record for entry in entries] == many[::-1]
    pages, after = [], ""
    while page := await history.find(limit=2, after=after):
        pages += page
        after = page[-1].id
    assert pages == list(entries)
    assert ids(await history.find(kind="started", event_id="evt_1")) == ["evt_1"]
    rest = await asyncio.wait_for(collect(history.tail(entries[4].id, every=0.01), 4), PATIENCE)
    assert rest == list(entries[3::-1])


async def test_tail_sees_what_was_written_out_of_turn(away):
    """A statement that began first and ended last is seen, although later ones were before it."""

    class Late(Away):
        async def written(self, _):
            return NOW

        def __init__(self):
            super().__init__()
            self.kept = []

        async def since(self, begin, limit):
            late = sorted(self.kept, key=lambda page: (page.written, page.id))
            return [page for page in late if page.written >= begin][:limit]

    ledger = away._ledger = Late()
    ledger.back = True
    live = asyncio.ensure_future(collect(away.tail(every=0.01), 2))
    await asyncio.sleep(0.05)
    for event_id, written in (("ended first", NOW + 5), ("ended last", NOW + 4.5)):
        await keep(away, told(Kind.RECEIVED, event_id))
        page = ledger.pages[-1]
        ledger.kept.append(Kept(page.id, page.data, written))
        await asyncio.sleep(0.05)
    assert ids(await asyncio.wait_for(live, PATIENCE)) == ["ended first", "ended last"]
    await away.aclose()


async def test_what_comes_while_it_writes_waits_for_company(away):
    """A busy app is no reason to write without a pause: later records go in the next batch."""

    class Busy(Away):
        async def write(self, pages, _keep):
            self.pages += pages
            away.record(told(Kind.RECEIVED, f"during {len(self.pages)}"))

    ledger = away._ledger = Busy()
    away.record(told(Kind.RECEIVED, "before"))
    assert await asyncio.wait_for(away.flush(), PATIENCE)
    assert ledger.events == ["before"]
    await away.aclose()


async def test_the_end_in_the_middle_of_a_batch_loses_nothing(away):
    """Records that were being put into rows when the app ended are written all the same."""
    away._writer._room = 1000
    away._ledger.back = True
    for n in range(550):
        away.record(told(Kind.RECEIVED, f"evt_{n}"))
    flush = asyncio.ensure_future(away.flush())
    await asyncio.sleep(0)
    flush.cancel()
    await asyncio.wait([flush])
    await away.aclose()
    assert len(away._ledger.events) == 550
    assert away.dropped == 0


def arrival(number, body=b""):
    return Delivery(str(number), "shop", "POST", "/", headers=(), body=body, received_at=NOW)


def pages_of(records, pen=None):
    return list((pen or Pen()).pages(records))


def test_pages_are_bounded():
    """A page holds no more records, kept bodies or seconds than it is meant to."""
    many = [told(Kind.RECEIVED, str(n), at=NOW + n / 1000) for n in range(1000)]
    assert [page.size for page in pages_of(many)] == [200] * 5
    copies = [told(Kind.RECEIVED, "one", at=NOW)] * 450
    assert [page.size for page in pages_of(copies)] == [200, 200, 50]
    bodies = [told(Kind.RECEIVED, str(n), delivery=arrival(n, bytes(100 * 1024))) for n in range(4)]
    assert [page.size for page in pages_of(bodies, Pen(bodies=True))] == [1] * 4
    assert [page.size for page in pages_of(bodies)] == [4]
    slow = [told(Kind.RECEIVED, str(n), at=NOW + 20 * n) for n in range(6)]
    assert [page.size for page in pages_of(slow)] == [2] * 3


async def test_a_clock_that_is_set_back_hides_nothing(history):
    """A filter by time finds records wherever they stand on their page."""
    moments = [NOW, NOW - 20, NOW + 20, NOW - 3600]
    await keep(history, *(told(Kind.RECEIVED, f"{at:.0f}", at=at) for at in moments))
    for at in moments:
        assert ids(await history.find(since=at, until=at + 1)) == [f"{at:.0f}"]


async def test_events_are_told_apart_by_their_exact_ids(history):
    """A story is of one id, even if another contains it or looks like several."""
    odd = ["a", "aa", "a\na", "\na\n", "A"]
    await keep(history, *(told(Kind.RECEIVED, event_id) for event_id in odd))
    for event_id in odd:
        assert ids(await history.story(event_id)) == [event_id]


async def test_a_request_stands_by_its_arrival(history):
    """What came by HTTP is told with the arrival, whatever was recorded before it."""
    delivery = arrival(1)
    await keep(
        history,
        told(Kind.DEFERRED, delivery_id="1"),
        told(Kind.RECEIVED, delivery_id="1", delivery=delivery),
        told(Kind.STARTED, delivery_id="1", delivery=delivery),
    )
    assert [entry.request is not None for entry in await history.story("evt_1")] == [
        False,
        True,
        False,
    ]


def test_forked_processes_sign_their_own_pages():
    """A pen made before a fork writes under the name of each process, and under ids of its own."""
    pen = Pen()
    many = [told(Kind.RECEIVED)]
    (here,) = pages_of(many, pen)
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        (there,) = pages_of(many, pen)
        os.write(theirs, f"{os.getpid()} {there.id} {there.data}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    process, page_id, data = os.read(ours, 65536).decode().split(" ", 2)
    assert int(process) == child
    assert f":{child}" in data
    assert f":{os.getpid()}" in here.data
    assert page_id[16:24] != here.id[16:24]
