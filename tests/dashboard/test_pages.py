"""What the pages show, on every kind of store, and that nothing on them is what it looks like."""

import html
import re
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.asgi.kit import deliver, until
from tests.cli.operating import command
from webhook_dedup import Discard, Policy, Source
from webhook_dedup.contracts import Sought
from webhook_dedup.model import Bid, Key
from webhook_dedup.observe.record import Kind, Record

from .kit import ADMIN, MOUNT, VIEWER, Desk, client_of, text_of

HOSTILE = "\"><script>alert(1)</script>'&{{7777*7777}}{% raw %}\u202e\x00\x07\x1b[31m\r\n\ud800<!--"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Tags(HTMLParser):
    """Collects the tags of a page with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.all = []
        self.feed(page.text)

    def handle_starttag(self, tag, attrs):
        self.all.append((tag, dict(attrs)))

    def of(self, tag):
        return [attrs for each, attrs in self.all if each == tag]


def pages_of(row):
    return ("", "deliveries", "dead", "sources", f"delivery?id={row}", f"replay?id={row}")


async def test_every_page_on_every_store(url):
    """A duplicate, a dead letter and a refused request are told on every page they belong to."""
    async with Desk(url) as desk:
        await desk.deliver("evt_good")
        await desk.deliver("evt_good")
        desk.handler._statuses[:] = [422]
        await desk.deliver("evt_dead")
        assert (await deliver(desk.app, headers={})).status == 401
        await desk.history.flush()
        async with desk.browser(VIEWER) as browser:
            live = text_of(await browser.get(""))
            assert "skipped shop evt_good duplicate" in live
            assert "rejected shop none missing signature" in live
            listed = text_of(await browser.get("deliveries"))
            for row in (
                "rejected shop none missing signature",
                "dead shop evt_dead the handler answered 422 1",
                "skipped shop evt_good duplicate",
                "handled shop evt_good 1",
            ):
                assert row in listed
            dead = text_of(await browser.get("dead"))
            assert "evt_dead" in dead
            assert "evt_good" not in dead
            sources = text_of(await browser.get("sources"))
            assert "Arrived 3" in sources
            assert "Duplicates 33 %" in sources
            assert "1 duplicate" in sources
            story = text_of(await browser.get("delivery?event=evt_good&source=shop"))
            assert "It was handled" in story
            assert "It arrived twice and ran once, 1 skipped as duplicate." in story
            assert "State done" in story
            assert "Copies 2" in story


async def test_headers_of_every_answer(desk):
    """Pages, acts, assets and refusals forbid what is not theirs, and pages are kept nowhere."""
    await desk.deliver()
    row = desk.records.all[0].delivery_id
    async with desk.browser(ADMIN) as browser, desk.browser() as stranger:
        for client in (browser, stranger):
            for path in (*pages_of(row), "nothing", "sign-in", "static/dashboard.js"):
                headers = (await client.get(path)).headers
                assert headers["content-security-policy"] == POLICY, path
                assert headers["x-content-type-options"] == "nosniff"
                assert headers["referrer-policy"] == "same-origin"
                asset = path.startswith("static")
                assert ("immutable" if asset else "no-store") in headers["cache-control"]


async def test_nothing_inline_and_nothing_foreign(desk):
    """Scripts and styles are files of the dashboard; nothing is loaded from elsewhere."""
    desk.handler._statuses[:] = [422]
    await desk.deliver()
    row = desk.records.all[0].delivery_id
    async with desk.browser(ADMIN) as browser:
        for path in pages_of(row):
            page = await browser.get(path)
            tags = Tags(page)
            [script] = tags.of("script")
            assert script["src"].startswith(f"{MOUNT}/static/")
            assert not tags.of("style")
            for _, attrs in tags.all:
                assert not [name for name in attrs if name.startswith("on") or name == "style"]
            for link in tags.of("link"):
                assert link["href"].startswith(f"{MOUNT}/static/")
            assert "</script><" not in page.text.partition("<main")[2]


async def hostile_desk(desk):
    """Deliver what no sender should, and let it become a dead letter with an odd traceback."""
    odd = HOSTILE.replace("\ud800", "")  # which no report of a test could carry
    desk.handler._statuses[:] = [ValueError(odd), Discard(odd)]
    body = b'{"id": "\\"><script>alert(1)</script>\\ud800\\u202e\\u0000"}'
    headers = {"X-Odd": '"><img src=x onerror=alert(1)>\x1b', "X-Secret-Thing": "hush"}
    await desk.deliver(body=body, headers=headers, query_string=b"token=hush&a=<b>")
    for kind in Kind:
        told = {"event_id": HOSTILE, "event_type": HOSTILE, "reason": HOSTILE, "detail": HOSTILE}
        more = {"tenant": HOSTILE, "delivery_id": HOSTILE, "original_id": HOSTILE}
        desk.history.record(Record(kind, HOSTILE, **told, **more))
    await desk.history.flush()


async def test_hostile_values_are_inert(url):
    """Whatever a sender writes is shown whole, escaped and without effect."""
    async with Desk(url) as desk:
        await hostile_desk(desk)
        [item] = await desk.dedup.inbox.find(_everything())
        async with desk.browser(ADMIN) as browser:
            found = 0
            for path in (*pages_of(item.id), "deliveries?reason=duplicate", f"bury?id={item.id}"):
                page = await browser.get(path)
                assert page.status_code == 200
                main = page.text.partition("<main")[2]
                for raw in ("<script>", "<img", "\x00", "\x07", "\x1b", "\u202e", "\r", "60481729"):
                    assert raw not in main, (path, raw)
                found += "&lt;script&gt;" in main
            assert found >= 5
            listed = await browser.get("dead" if item.dead else "deliveries?state=waiting")
            there = html.unescape(re.search(r'class="id" href="([^"]+)"', listed.text)[1])
            story = await browser.get(there.removeprefix(f"{MOUNT}/").replace(item.id, ""))
            assert "It waits to run again" in text_of(story)
            shown = html.unescape(text_of(await browser.get(f"delivery?id={item.id}")))
            assert "masked" in shown
            assert "hush" not in shown
            assert "token=***" in shown


def _everything():
    from webhook_dedup.contracts import Sought

    return Sought()


async def test_hostile_addresses_are_harmless(url):
    """An edited address gets a page or a refusal, never a fault."""
    odd = ("%ED%A0%80", "%00", "'%22<script>", "9" * 400, "%0d%0a", "../../etc", "0x")
    async with Desk(url) as desk:
        await desk.deliver()
        async with desk.browser(ADMIN) as browser:
            for path in ("deliveries?text=%FF", "replay-all?error=%FF", "?x=1" + "&x=1" * 60):
                assert (await browser.get(path)).status_code == 400
            for value in odd:
                for path in (
                    f"deliveries?text={value}&source={value}&after={value}",
                    f"deliveries?reason={value}",
                    f"deliveries?state=dead&text={value}&error={value}&after={value}&source={value}",
                    f"delivery?id={value}&event={value}&source={value}&tenant={value}",
                    f"body?id={value}",
                    f"replay?id={value}",
                    f"forget?event={value}&source={value}",
                    f"replay-all?error={value}",
                    f"?source={value}&reason={value}&text={value}",
                    f"dead?request={value}&path={value}&self={value}",
                ):
                    page = await browser.get(path)
                    assert page.status_code in {200, 404}, (path, page.status_code)
                    assert "<script>alert" not in page.text
                for path in (f"deliveries?state={value}", f"?kind={value}", f"dead?age=x{value}"):
                    assert (await browser.get(path)).status_code == 400, path


async def test_filters(url):
    """Each filter leaves out what it does not mean, and they add up."""
    async with Desk(url) as desk:
        for number in range(3):
            await desk.deliver(f"evt_a{number}")
        await desk.deliver("evt_a1")
        desk.handler._statuses[:] = [ValueError("no such customer"), 422]
        await desk.deliver("evt_b0")
        await desk.deliver("evt_b1")
        async with desk.browser(VIEWER) as browser:

            async def events(query):
                page = await browser.get(f"deliveries?{query}")
                return re.findall(r"(?:evt|call)_\w+", text_of(page).partition("Took")[2])

            assert await events("") == ["evt_b1", "evt_b0", "evt_a1", "evt_a2", "evt_a1", "evt_a0"]
            assert await events("state=handled") == ["evt_a2", "evt_a1", "evt_a0"]
            assert await events("state=skipped") == ["evt_a1"]
            assert await events("reason=duplicate") == ["evt_a1"]
            assert await events("state=waiting") == ["evt_b0"]
            assert await events("state=dead") == ["evt_b1"]
            assert await events("state=failed") == []
            assert await events("text=A2") == ["evt_a2"]
            assert await events("text=b0&state=waiting") == ["evt_b0"]
            assert await events("text=b0&state=dead") == []
            assert await events("source=nobody") == []
            assert len(await events("source=shop&age=15m")) == 6
            assert await events("age=0.000001s") == []


async def test_pages_of_a_list(url):
    """Following the links to older ones shows every delivery once, while others arrive."""
    async with Desk(url) as desk:
        for number in range(120):
            record = Record(Kind.RECEIVED, "shop", event_id=f"evt_{number:03}", at=1e9 + number)
            desk.history.record(replace(record, delivery_id=f"d{number}"))
            ended = Record(Kind.SUCCEEDED, "shop", event_id=f"evt_{number:03}", at=1e9 + number)
            desk.history.record(replace(ended, delivery_id=f"d{number}"))
        await desk.history.flush()
        async with desk.browser(VIEWER) as browser:
            for query in ("", "state=handled", "source=shop&text=evt"):
                assert await _all_pages(browser, f"deliveries?{query}", desk) == [
                    f"evt_{number:03}" for number in reversed(range(120))
                ]


async def _all_pages(browser, path, desk):
    found, pages = [], 0
    while path:
        page = await browser.get(path)
        found += re.findall(r"evt_\d{3}", text_of(page).partition("Took")[2])
        following = re.search(r'rel="next" href="([^"]+)"', page.text)
        path = html.unescape(following[1]).removeprefix(f"{MOUNT}/") if following else None
        pages += 1
        assert pages < 10
    assert pages >= 3
    return found


async def test_pages_of_dead_letters(url):
    """Dead letters are paged from the inbox, the first received first."""
    async with Desk(url, history=False) as desk:
        desk.handler._statuses[:] = [422] * 60
        for number in range(60):
            await desk.deliver(f"evt_{number:03}")
        async with desk.browser(VIEWER) as browser:
            first = await browser.get("dead")
            assert len(Tags(first).of("tr")) == 51
            after = html.unescape(re.search(r'rel="next" href="([^"]+)"', first.text)[1])
            second = text_of(await browser.get(after.removeprefix(f"{MOUNT}/")))
            assert re.findall(r"evt_\d{3}", second) == [f"evt_{n:03}" for n in range(50, 60)]


async def test_without_a_history(url):
    """The inbox and the store tell what they know, and what is missing is said with its remedy."""
    async with Desk(url, history=False) as desk:
        await desk.deliver("evt_good")
        desk.handler._statuses[:] = [422]
        await desk.deliver("evt_dead", headers={"Cookie": "hush"}, query_string=b"token=hush")
        async with desk.browser(ADMIN) as browser:
            for path in ("", "deliveries", "sources"):
                page = text_of(await browser.get(path))
                assert "No history is kept" in page
                assert "observers=[History(STORE)]" in page
            listed = text_of(await browser.get("deliveries"))
            assert "evt_dead" in listed
            assert "evt_good" not in listed
            story = text_of(await browser.get("delivery?event=evt_good&source=shop"))
            assert "It was handled" in story
            assert "State done" in story
            dead = re.search(r'href="[^"]*delivery\?([^"]+)"', (await browser.get("dead")).text)[1]
            story = text_of(await browser.get(f"delivery?{html.unescape(dead)}"))
            assert "the handler answered 422" in story
            assert "hush" not in story
            assert (await browser.get("stream")).status_code == 404


@pytest.mark.parametrize("history", [True, False])
async def test_what_a_refusal_said(url, history):
    """What the handler answered is told with each attempt, whoever knows of the attempts."""
    async with Desk(url, 422, 503, history=history) as desk:
        await desk.deliver()
        [item] = await desk.dedup.inbox.find(Sought())
        await desk.dedup.inbox.requeue([item.id])
        await until(lambda: desk.records.kinds.count("failed") == 2)
        await until(lambda: "retried" in desk.records.kinds)
        if history:
            await desk.history.flush()
        async with desk.browser(ADMIN) as browser:
            listed = await browser.get("deliveries")
            link = re.search(r'href="[^"]*delivery\?([^"]+)"', listed.text)[1]
            page = await browser.get(f"delivery?{html.unescape(link)}")
        attempts = page.text.partition('<ol class="runs">')[2].partition("</ol>")[0]
        said = re.findall(r'class="error">([^<]*)<', attempts)
        assert said == [f"the handler answered {status}: handled" for status in (422, 503)]


async def test_an_event_that_runs(desk):
    """A claim under its lease is told as such, with what is left of it."""
    await desk.store.claim([Bid(str(Key("webhook:shop", "evt_9")), "d9.token", 600)])
    async with desk.browser(VIEWER) as browser:
        story = text_of(await browser.get("delivery?event=evt_9&source=shop"))
    assert "It is being handled by delivery d9" in story
    assert "State held" in story
    assert "By d9.token" in story
    assert "Lease ends in 9 min 59 s" in story or "Lease ends in 10 min" in story


async def test_a_run_that_was_killed(desk):
    """A run is counted though its process was killed before it recorded anything."""
    held_by_itself = {"reason": "in_flight", "original": "in_flight", "original_id": "d1"}
    for kind, more in (
        (Kind.RECEIVED, {}),
        (Kind.DEFERRED, held_by_itself),
        (Kind.STARTED, {"attempt": 2}),
        (Kind.SUCCEEDED, {"attempt": 2, "duration": 0.5}),
    ):
        desk.history.record(Record(kind, "shop", event_id="evt_1", delivery_id="d1", **more))
    await desk.history.flush()
    async with desk.browser(VIEWER) as browser:
        assert "handled shop evt_1 2 500 ms" in text_of(await browser.get("deliveries"))
        story = text_of(await browser.get("delivery?id=d1&event=evt_1&source=shop"))
    assert "ran twice" in story
    assert "Attempts 2 Runs of which nothing is known but that they began: 1." in story
    assert "put off: an earlier run of its own did not end" in story


async def test_a_function_is_listed(desk):
    """Calls of a decorated function are listed by their runs and skips."""
    for at, kind, more in (
        (1.0, Kind.STARTED, {"attempt": 1}),
        (2.0, Kind.SUCCEEDED, {"duration": 0.5}),
        (3.0, Kind.SKIPPED, {"reason": "duplicate"}),
    ):
        told = Record(kind, "app.tasks.mail", event_id="call_1", at=1e9 + at, **more)
        desk.history.record(told)
    await desk.history.flush()
    async with desk.browser(VIEWER) as browser:
        listed = text_of(await browser.get("deliveries"))
        assert "skipped app.tasks.mail call_1 duplicate" in listed
        assert "handled app.tasks.mail call_1 1 500 ms" in listed
        story = text_of(await browser.get("delivery?event=call_1&source=app.tasks.mail"))
        assert "Attempts 1 succeeded" in story


async def test_a_batch_is_told_whole(tmp_path):
    """A delivery with several events is handled when they are, though each has its own id."""
    url = f"sqlite:///{tmp_path}/webhooks.db"
    async with Desk(url, items="events", event_id="id") as desk:
        await desk.deliver(body=b'{"events": [{"id": "one"}, {"id": "two"}]}')
        async with desk.browser(VIEWER) as browser:
            page = await browser.get("deliveries")
            assert re.search(r"handled shop batch:\w+ 1", text_of(page))
            there = re.search(r'href="[^"]*/(delivery\?[^"]+)"', page.text)[1]
            story = text_of(await browser.get(html.unescape(there)))
            assert "Attempts 1 succeeded" in story


async def test_retries_that_outlive_the_memory(tmp_path):
    """A source that forgets before its provider stops retrying is warned of."""
    forgetful = Policy(ttl=3600)
    more = {"dedup": {"seen_cache": 0}, "policy": forgetful}
    async with Desk(f"sqlite:///{tmp_path}/webhooks.db", **more) as desk:
        linear = Source("linear", path="/linear", secret="x" * 20, policy=forgetful)
        desk.dedup.routes._add(_route(linear))
        async with desk.browser(VIEWER) as browser:
            text = text_of(await browser.get("sources"))
    assert "Retries for 7 h 1 min" in text
    assert "remembered for 1 h" in text
    assert "Too short: Linear retries for longer than its events are remembered" in text


def _route(source):
    from webhook_dedup.routes import _route as route

    return route(source, source.policy)


@pytest.mark.parametrize("root", ["", "/behind/a proxy"])
async def test_addresses_below_any_mount(desk, root):
    """Wherever it is mounted, and whatever a proxy takes off, links lead to its pages."""
    await desk.deliver()
    nested = Starlette(routes=[Mount("/ops", routes=[Mount("/hooks", desk.pages)])])
    home = f"{root}/ops/hooks".replace(" ", "%20")

    async def app(scope, receive, send):
        path = {"root_path": root, "path": root + scope["path"]} if root else {}
        await nested({**scope, **path}, receive, send)

    async with client_of(app, "http://127.0.0.1:8000/ops/hooks/") as browser:
        browser.headers["Authorization"] = f"Bearer {ADMIN}"
        for path in ("", "deliveries", "delivery?event=evt_1&source=shop"):
            page = await browser.get(path)
            assert page.status_code == 200
            tags = Tags(page)
            places = [each["href"] for each in (*tags.of("a"), *tags.of("link"))]
            places += [each["src"] for each in tags.of("script")]
            places += [each["action"] for each in tags.of("form") if "action" in each]
            assert all(place.startswith((f"{home}/", "#")) for place in places), places


async def test_a_store_that_is_away(desk, monkeypatch):
    """Pages say so with a 503, and no fault."""
    from webhook_dedup.errors import StoreUnavailable

    async def away(*_, **__):
        raise StoreUnavailable("postgres: nobody there")

    monkeypatch.setattr(desk.history._ledger, "find", away)
    async with desk.browser(VIEWER) as browser:
        page = await browser.get("deliveries")
        assert page.status_code == 503
    signed_in = await desk.signed_in(VIEWER)
    page = await signed_in.get("deliveries")
    assert page.status_code == 503
    assert "the store does not answer: postgres: nobody there" in text_of(page)


async def test_the_exact_bytes(desk):
    """The body of a dead letter is handed over as it came, as a file."""
    body = b'{"id": "evt_1"} \xff\x00\r\n'
    body = b'{"id": "evt_1", "n": "\xc3\xa9"}\r\n\t'
    desk.handler._statuses[:] = [422]
    await desk.deliver(body=body)
    row = desk.records.all[0].delivery_id
    async with desk.browser(VIEWER) as browser:
        answer = await browser.get(f"body?id={row}")
        assert answer.content == body
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["content-type"] == "application/octet-stream"
        page = await browser.get(f"delivery?id={row}")
        assert "7b 22 69 64 22" in page.text
        assert (await browser.get("body?id=nothing")).status_code == 404


async def test_headers_masked_on_demand(tmp_path):
    """Headers the app names are masked, beside those that look secret."""
    from webhook_dedup.dashboard import dashboard

    async with Desk(f"sqlite:///{tmp_path}/webhooks.db", 422) as desk:
        await desk.deliver(headers={"X-Customer": "Ann", "Cookie": "a=b"})
        row = desk.records.all[0].delivery_id
        pages = dashboard(desk.dedup, auth=ADMIN, mask_headers=["X-Customer"])
        for app, shown in ((desk.pages, True), (pages, False)):
            async with client_of(Starlette(routes=[Mount(MOUNT, app)])) as browser:
                browser.headers["Authorization"] = f"Bearer {ADMIN}"
                page = text_of(await browser.get(f"delivery?id={row}"))
                assert ("Ann" in page) is shown
                assert "a=b" not in page


async def test_bodies_of_handled_deliveries(tmp_path):
    """A history that keeps bodies shows those of deliveries that are handled."""
    url = f"sqlite:///{tmp_path}/webhooks.db"
    async with Desk(url, bodies=True) as desk:
        await desk.deliver(body=b'{"id": "evt_1", "note": "kept"}')
        async with desk.browser(VIEWER) as browser:
            page = text_of(await browser.get("delivery?event=evt_1&source=shop"))
    assert "kept" in page


async def test_what_has_become_of_older_ones(url):
    """On later pages, too, a delivery stands as it does now: here handled hours after it came."""
    async with Desk(url) as desk:
        old = {"event_id": "evt_old", "delivery_id": "old"}
        for at, kind, more in (
            (0, Kind.RECEIVED, {}),
            (1, Kind.STARTED, {"attempt": 1}),
            (1, Kind.FAILED, {"attempt": 1, "duration": 0.1}),
            (1, Kind.RETRIED, {"delay": 7200.0}),
            (7201, Kind.STARTED, {"attempt": 2}),
            (7202, Kind.SUCCEEDED, {"attempt": 2, "duration": 0.25}),
        ):
            desk.history.record(Record(kind, "shop", at=1e9 + at, **old, **more))
            await desk.history.flush()
        for number in range(70):
            told = {"event_id": f"evt_{number}", "delivery_id": f"d{number}"}
            desk.history.record(Record(Kind.RECEIVED, "shop", at=1e9 + 600 + number, **told))
        await desk.history.flush()
        async with desk.browser(VIEWER) as browser:
            first = await browser.get("deliveries?source=shop")
            assert "evt_old" not in text_of(first)
            there = html.unescape(re.search(r'rel="next" href="([^"]+)"', first.text)[1])
            second = text_of(await browser.get(there.removeprefix(f"{MOUNT}/")))
            assert "handled shop evt_old 2 250 ms" in second
            failed = text_of(await browser.get("deliveries?state=failed"))
            assert "evt_old" not in failed


async def test_states_by_every_way_into_them(desk):
    """Handled is also what was recovered, and failed what lost its lease."""
    for at, kind in enumerate((Kind.SUCCEEDED, Kind.RECOVERED, Kind.FAILED, Kind.LEASE_LOST)):
        row = {"event_id": f"evt_{kind.value}", "delivery_id": f"d{at}"}
        desk.history.record(Record(Kind.RECEIVED, "shop", at=1e9 + at, **row))
        desk.history.record(Record(kind, "shop", at=1e9 + at, **row))
    await desk.history.flush()
    async with desk.browser(VIEWER) as browser:
        for state, kinds in (
            ("handled", ["recovered", "succeeded"]),
            ("failed", ["lease_lost", "failed"]),
        ):
            text = text_of(await browser.get(f"deliveries?state={state}")).partition("Took")[2]
            assert re.findall(r"evt_(\w+)", text) == kinds


async def test_a_batch_under_a_filter(tmp_path):
    """A finished batch is told as handled, too, where a filter leaves out its items."""
    url = f"sqlite:///{tmp_path}/webhooks.db"
    async with Desk(url, items="events", event_id="id") as desk:
        await desk.deliver(body=b'{"events": [{"id": "one"}, {"id": "two"}]}')
        async with desk.browser(VIEWER) as browser:
            page = text_of(await browser.get("deliveries?text=batch"))
    assert re.search(r"handled shop batch:\w+", page)


async def test_the_command_that_is_named_works(desk):
    """An empty live view names a command; written as it says, it sends something."""
    page = await desk.browser(ADMIN).get("")
    line = html.unescape(re.search("<code>webhook-dedup ([^<]*)</code>", page.text)[1])
    told = {"URL": "http://127.0.0.1:1/hooks", "NAME": "stripe", "SECRET": "whsec_of_tests"}
    done = await command(*(told.get(word, word) for word in line.split()))
    assert done.exit_code == 1, done.output
    assert "ConnectError" in done.stdout
