"""However much there is of something, a page shows a part of it, and says so."""

import asyncio
import re

import pytest

from webhook_dedup.contracts import Sought
from webhook_dedup.dashboard import listing
from webhook_dedup.dashboard.deployment import StoreDeployment
from webhook_dedup.dashboard.filters import body_text, marked
from webhook_dedup.errors import SchemaError, StoreUnavailable, TableAbsent
from webhook_dedup.observe.record import Kind, Record

from .kit import ADMIN, text_of

STORY = "delivery?event=evt_1&source=shop"


def told(kind, at, delivery_id, **more):
    return Record(kind, "shop", event_id="evt_1", at=1e9 + at, delivery_id=delivery_id, **more)


async def test_copies_without_number(desk):
    """Of very many copies the first and the latest are listed, and all are counted."""
    for number in range(1_000):
        desk.history.record(told(Kind.RECEIVED, number, f"d{number}"))
    await desk.history.flush()
    page = await desk.browser(ADMIN).get(STORY)
    assert "Copies 1000 The first, and the latest 199 of them." in text_of(page)
    copies = re.findall(r"<td><a[^>]*>(d\d+)</a>", page.text.replace("\n", ""))
    assert copies == ["d0", *(f"d{number}" for number in range(801, 1_000))]


async def test_runs_without_number(desk):
    """Of very many runs the first and the latest are listed, and all are counted."""
    desk.history.record(told(Kind.RECEIVED, 0, "d1"))
    for number in range(300):
        desk.history.record(told(Kind.STARTED, number, "d1", attempt=number + 1))
        desk.history.record(told(Kind.FAILED, number, "d1", detail=f"error-{number}."))
    await desk.history.flush()
    page = text_of(await desk.browser(ADMIN).get(STORY))
    assert "Attempts 300 The first, and the latest 99 of them." in page
    runs = page.partition("Attempts 300")[2].partition("Everything")[0]
    assert re.findall(r"error-(\d+)", runs) == ["0", *map(str, range(201, 300))]


def test_escapes_come_together():
    """A run of bytes that must be escaped is one element of the page."""
    assert body_text(bytes(70_000)).count("<span") == 1
    assert marked("a\x00\x01b<\x1b") == (
        'a<span class="escape">\\x00\\x01</span>b&lt;<span class="escape">\\x1b</span>'
    )


async def _dead(desk, number):
    desk.handler._statuses[:] = [422] * number
    for each in range(number):
        await desk.deliver(f"evt_{each:03}")


async def test_looking_on_among_dead_letters(desk, monkeypatch):
    """What a filter finds beyond those looked at is reached by a link, on each page that looks."""
    monkeypatch.setattr(listing, "_MOST_LOOKED_AT", listing.PER_PAGE)
    await _dead(desk, 60)
    async with desk.browser(ADMIN) as browser:
        for path in ("dead", "replay-all"):
            first = await browser.get(f"{path}?text=evt_055")
            assert "among those looked at" in text_of(first)
            after = re.search(rf'{path}\?text=evt_055&amp;after=(\w+)"', first.text)[1]
            second = text_of(await browser.get(f"{path}?text=evt_055&after={after}"))
            assert "evt_055" in second
        assert "Replay 1 dead letters?" in second
        all_of_them = text_of(await browser.get("replay-all"))
        assert "Replay 50 dead letters? Only the first thousands were looked at" in all_of_them
        assert "Replay these 50" in all_of_them
        await browser.post("replay-all")
    assert await desk.dedup.inbox.count(Sought(state="dead")) == 10


async def test_none_is_said_of_all_only(desk):
    """That there are no dead letters at all is never said of a filter or of a later page."""
    async with desk.browser(ADMIN) as browser:
        every = "Every delivery that was acknowledged"
        assert every in text_of(await browser.get("dead"))
        assert every in text_of(await browser.get("dead?done=replayed&number=1"))
        assert "No dead letter fits these filters." in text_of(await browser.get("dead?source=x"))
        assert every not in text_of(await browser.get("dead?after=x"))


@pytest.mark.parametrize(
    "error", [TableAbsent("no table"), SchemaError("another version"), StoreUnavailable("away")]
)
async def test_a_history_that_is_not_there(error):
    """Outside an app without a history, it is not looked for at every request, nor left open."""
    opened, closed = [], []

    class Absent:
        async def start(self):
            await asyncio.sleep(0)
            raise error

        async def aclose(self):
            closed.append(self)

    def history():
        opened.append(Absent())
        return opened[-1]

    deployment = StoreDeployment(None, None, history)
    asking = [deployment.storage() for _ in range(5)]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert closed == opened
    if isinstance(error, TableAbsent):
        assert [each.history for each in answers] == [None] * 5
        assert len(opened) == 1
    else:
        assert answers == [error] * 5


async def test_a_story_that_is_cut(desk, monkeypatch):
    """Where the history tells the beginning and the end alone, no number is said to be whole."""
    monkeypatch.setattr("webhook_dedup.observe.history.history._STORY_BEGINS", 2)
    monkeypatch.setattr("webhook_dedup.observe.history.history._STORY_ENDS", 2)
    for number in range(9):
        desk.history.record(told(Kind.RECEIVED, number, f"d{number}"))
        await desk.history.flush()
    page = text_of(await desk.browser(ADMIN).get(STORY))
    assert "Copies 4+" in page
    assert "It arrived 4 times and ran 0 times, and more often than is told here." in page


@pytest.mark.parametrize("query", ["state=handled", "state=handled&text=EVT_", "text=evt_"])
async def test_looking_on_in_a_long_history(desk, monkeypatch, query):
    """A search that looks at a part leads on behind it, and nothing is left out or told twice."""
    monkeypatch.setattr(listing, "_MOST_PAGES", 2)
    for number in range(9):
        row = {"event_id": f"evt_{number}", "delivery_id": f"d{number}", "at": 1e9 + number}
        desk.history.record(Record(Kind.RECEIVED, "shop", **row))
        ended = Kind.RECOVERED if number % 4 == 0 else Kind.SUCCEEDED
        desk.history.record(Record(ended, "shop", **row))
        await desk.history.flush()
    found, pages, path = [], 0, f"deliveries?{query}"
    async with desk.browser(ADMIN) as browser:
        while path:
            page = await browser.get(path)
            found += re.findall(r"evt_\d", text_of(page).partition("Took")[2])
            following = re.search(r'rel="next" href="[^"]*/([^"/]+)"', page.text)
            path = following[1].replace("&amp;", "&") if following else None
            pages += 1
    assert found == [f"evt_{number}" for number in reversed(range(9))]
    assert pages > 2
