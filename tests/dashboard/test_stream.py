"""The live view's stream: what it tells, to how many, and when it ends."""

import asyncio
import html
import re
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.asgi.kit import http_scope, until
from webhook_dedup.dashboard.live import Stream
from webhook_dedup.observe.record import Kind, Record

from .kit import MOUNT, VIEWER

LIMIT = 10.0


class Listener:
    """A browser that listens, over bare ASGI; it takes nothing while ``stuck``."""

    def __init__(self):
        self.status = None
        self.text = ""
        self.taken = asyncio.Event()
        self.stuck = asyncio.Event()
        self.free = asyncio.Event()
        self.free.set()
        self.left = asyncio.Event()

    async def receive(self):
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        if not self.free.is_set():
            self.stuck.set()
        await self.free.wait()
        self.status = message.get("status", self.status)
        self.text += message.get("body", b"").decode()
        self.taken.set()

    @property
    def events(self):
        """The events heard of, by the ids of their rows."""
        return re.findall(r"evt_\w+(?=</a>)", self.text)

    @property
    def ids(self):
        return re.findall(r"^id: (\w+)", self.text, re.MULTILINE)


@asynccontextmanager
async def listening(desk, query="", **headers):
    """Listen to a stream until the block ends, from now on unless it says from where."""
    if "last_event_id" not in headers and "after=" not in query:
        query = f"{query}&after={await now(desk)}"
    listener = Listener()
    bearer = [(b"authorization", f"Bearer {VIEWER}".encode())]
    more = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    path = f"{MOUNT}/stream"
    scope = http_scope(path, "GET", query_string=query.encode(), headers=[*bearer, *more])
    task = asyncio.ensure_future(desk.app(scope, listener.receive, listener.send))
    await until(lambda: listener.text or task.done())
    yield listener
    listener.left.set()
    listener.free.set()
    await asyncio.wait_for(task, LIMIT)


async def now(desk):
    """The id of the last entry; there is one."""
    await tell(desk, "evt_now")
    [last] = await desk.history.find(limit=1)
    return last.id


async def heard(listener, *events):
    await until(lambda: set(events) <= set(listener.events))


async def tell(desk, event_id, kind=Kind.RECEIVED, **fields):
    desk.history.record(Record(kind, "shop", event_id=event_id, **fields))
    assert await desk.history.flush()


async def test_it_tells_what_happens(desk):
    """A duplicate is told with its reason, in a row that is escaped on one data line each."""
    await tell(desk, "evt_before")
    async with listening(desk) as listener:
        assert listener.status == 200
        await desk.deliver("evt_1")
        await desk.deliver("evt_1")
        await until(lambda: ">duplicate<" in listener.text)
        assert "evt_before" not in listener.text
        rows = [line for line in listener.text.splitlines() if line.startswith("data:")]
        assert any("skipped" in row for row in rows)


async def test_it_tells_what_was_asked_for(desk):
    """Filters of the address hold for what comes."""
    async with listening(desk, "reason=duplicate&text=WANTED") as listener:
        await tell(desk, "evt_other", Kind.SKIPPED, reason="duplicate")
        await tell(desk, "evt_wanted")
        await tell(desk, "evt_wanted_1", Kind.SKIPPED, reason="duplicate")
        await heard(listener, "evt_wanted_1")
        assert listener.events == ["evt_wanted_1"]


async def test_a_browser_goes_on_where_it_was(desk):
    """Who comes again is told what he missed, once."""
    async with listening(desk) as listener:
        await tell(desk, "evt_1")
        await heard(listener, "evt_1")
        last = listener.ids[-1]
    await tell(desk, "evt_2")
    async with listening(desk, last_event_id=last) as listener:
        await tell(desk, "evt_3")
        await heard(listener, "evt_2", "evt_3")
        assert listener.events == ["evt_2", "evt_3"]


async def test_live_is_from_then_on(desk, monkeypatch):
    """Who names no place is told all that is written once the stream has said that it is live."""
    written = desk.history._ledger.written

    async def slowly(page_id):
        await asyncio.sleep(0.2)
        return await written(page_id)

    monkeypatch.setattr(desk.history._ledger, "written", slowly)
    async with listening(desk, "after=") as listener:
        await tell(desk, "evt_1")
        await heard(listener, "evt_1")


async def test_the_page_hands_over(desk):
    """Between the page and its stream nothing is missed, whatever the filter leaves out."""
    await tell(desk, "evt_1")
    page = await desk.browser(VIEWER).get("?reason=duplicate")
    await tell(desk, "evt_2", Kind.SKIPPED, reason="duplicate")
    stream = html.unescape(re.search(r'data-stream="[^"?]*\?([^"]+)"', page.text)[1])
    async with listening(desk, stream) as listener:
        await heard(listener, "evt_2")
        assert listener.events == ["evt_2"]


async def test_so_many_and_no_more(desk, monkeypatch):
    """Beyond the bound a browser is told to come later; whoever leaves makes room."""
    monkeypatch.setattr(_stream_of(desk), "_most", 2)
    async with listening(desk), listening(desk), listening(desk) as third:
        assert third.status == 503
        assert "as many as may be" in third.text
    await until(lambda: _stream_of(desk)._open == 0)
    async with listening(desk) as again:
        assert again.status == 200


async def test_many_at_the_same_moment(desk, monkeypatch):
    """Those who come together are counted, too, and those who leave before the first word."""
    monkeypatch.setattr(_stream_of(desk), "_most", 2)
    async with AsyncExitStack() as stack:
        coming = [stack.enter_async_context(listening(desk)) for _ in range(8)]
        listeners = await asyncio.gather(*coming)
        assert sorted(each.status for each in listeners) == [200] * 2 + [503] * 6
    assert _stream_of(desk)._open == 0


async def test_a_stream_that_never_begins(desk):
    """Whoever is gone before the first word leaves his seat."""

    async def receive():
        return {"type": "http.disconnect"}

    async def send(_):
        raise OSError("the connection is closed")

    bearer = [(b"authorization", f"Bearer {VIEWER}".encode())]
    with pytest.raises(BaseException, match=r"connection is closed|unhandled errors"):
        await desk.app(http_scope(f"{MOUNT}/stream", "GET", headers=bearer), receive, send)
    assert _stream_of(desk)._open == 0


def _stream_of(desk) -> Stream:
    [route] = [each for each in desk.pages._app.routes if each.path == "/stream"]
    return route.endpoint.__self__


async def test_it_ends_in_time(desk, monkeypatch):
    """After a while a browser must come again, so that who is signed out is let in no more."""
    monkeypatch.setattr(_stream_of(desk), "_longest", 0.2)
    async with listening(desk) as listener:
        await until(lambda: _stream_of(desk)._open == 0)
        assert "retry: 500" in listener.text


async def test_a_slow_browser_costs_no_memory(desk):
    """What a browser does not take is not read, however much happens."""
    async with listening(desk) as listener:
        await tell(desk, "evt_begun")
        await heard(listener, "evt_begun")
        listener.free.clear()
        await tell(desk, "evt_0")
        await asyncio.wait_for(listener.stuck.wait(), LIMIT)
        asked = 0
        since = desk.history._ledger.since

        async def counted(*arguments):
            nonlocal asked
            asked += 1
            return await since(*arguments)

        desk.history._ledger.since = counted
        for number in range(1, 50):
            await tell(desk, f"evt_{number}")
        await asyncio.sleep(1.5)
        assert asked <= 2
        listener.free.set()
        await heard(listener, *(f"evt_{number}" for number in range(50)))


async def test_a_history_that_is_away(desk, monkeypatch):
    """The stream says so and ends; the browser comes again by itself."""
    from webhook_dedup.errors import StoreUnavailable

    async def away(*_):
        raise StoreUnavailable("nobody there")

    async with listening(desk) as listener:
        monkeypatch.setattr(desk.history._ledger, "since", away)
        await until(lambda: "event: away" in listener.text)
    assert _stream_of(desk)._open == 0
    async with listening(desk, "after=") as listener:  # away from the first look on
        await until(lambda: "event: away" in listener.text)
        assert "retry: 500" in listener.text
        assert ": live" not in listener.text
    assert _stream_of(desk)._open == 0


async def test_rows_cannot_break_out(desk):
    """No id or reason ends a line of the stream, and none is markup in its row."""
    odd = "a\r\n\r\nevent: entry\ndata: <script>\u2028</script>"
    async with listening(desk) as listener:
        await tell(desk, odd, Kind.SKIPPED, reason=odd, detail=odd)
        await until(lambda: "event: entry" in listener.text and "</tr>" in listener.text)
        assert "<script>" not in listener.text
        fields = {line.partition(":")[0] for line in listener.text.splitlines() if line}
        assert fields <= {"", "retry", "event", "id", "data"}
        assert listener.text.count("event: entry\r\n") == 1
