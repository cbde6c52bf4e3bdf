"""The dashboard in a real browser. ``make browser`` runs this; no other command does."""

from __future__ import annotations

from time import monotonic

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from tests.dashboard.showcase import ADMIN, HOSTILE_ID, VIEWER
from webhook_dedup.contracts import Sought

from .watch import Watch

AT_ONCE = 2.0  # seconds
PAGES = ("", "deliveries", "deliveries?state=handled", "dead", "sources", "nothing")
SHOWN_ID = HOSTILE_ID.encode("unicode_escape").decode()


async def open_page(page, showcase, path):
    await page.goto(f"{showcase.url}{path}")
    await page.locator("main h1").wait_for()


async def open_hostile(page, showcase):
    """Go to the delivery no sender should send."""
    await open_page(page, showcase, "dead")
    await page.get_by_role("link", name=SHOWN_ID).click()
    await page.get_by_role("heading", name="Body").wait_for()


async def live(page):
    await page.locator("#status.live").wait_for()


async def test_a_duplicate_shows_within_two_seconds(page, showcase):
    """The live view shows a duplicate, with its reason, soon after it was delivered."""
    waits = []
    await live(page)
    for number in range(5):
        event = {"id": f"evt_seen_{number}", "type": "charge.succeeded"}
        await showcase.send(showcase.client, "stripe", event)
        await showcase.send(showcase.client, "stripe", event)
        sent = monotonic()
        row = page.locator("#entries tr", has_text=f"evt_seen_{number}").filter(has_text="skipped")
        await row.filter(has_text="duplicate").wait_for(timeout=1000 * 10 * AT_ONCE)
        waits.append(monotonic() - sent)
    assert max(waits) < AT_ONCE, waits


async def tab_to(page, name, limit=80):
    """Press Tab until what has this name has the focus, and see that it shows it."""
    for _ in range(limit):
        await page.keyboard.press("Tab")
        told = await page.evaluate(
            """() => { const at = document.activeElement;
                       return [at.innerText || at.getAttribute("aria-label") || "",
                               getComputedStyle(at).outlineStyle]; }"""
        )
        if told[0].strip() == name:
            assert told[1] != "none", f"{name!r} does not show its focus"
            return
    raise AssertionError(f"{name!r} is not reached by Tab")


async def test_a_dead_letter_is_replayed_by_keyboard(browser, showcase):
    """From the form to the handler's run with nothing but keys."""
    page = await (await browser.new_context()).new_page()
    await page.goto(showcase.url)
    await page.locator("input:focus").wait_for()  # a page gives it as it is shown, after its load
    await page.keyboard.type(ADMIN)
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="Live").wait_for()
    showcase.shop.broken = False
    ran = showcase.shop.ran.count("inv_78")
    dead = f"Dead letters {await showcase.dedup.inbox.count(Sought(state='dead'))}"
    for name, heading in (
        (dead, "Dead letters"),
        ("inv_78", "inv_78"),
        ("Replay…", "Replay?"),
        ("Replay", "inv_78"),
    ):
        await tab_to(page, name)
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name=heading, exact=True).wait_for()
    await page.get_by_text("Replayed: it is due now").wait_for()
    while not await page.get_by_text("It was handled").count():
        await page.reload()  # it stays as it was served, perhaps before the handler had ended
    assert showcase.shop.ran.count("inv_78") == ran + 1


async def test_what_senders_write_is_inert(page, showcase):
    """Markup, scripts and control characters of a sender are text on every page, and nothing more.

    The page is watched: a dialog, a complaint of a script or of the policy, or a request to
    elsewhere fails the test.
    """
    await live(page)
    hostile = {"id": f"{HOSTILE_ID}2", "type": "<img src=x onerror=alert(5)>"}
    headers = {"X-Note": "</td><script>alert(6)</script>"}
    await showcase.send(showcase.client, "acme", hostile, headers=headers)
    row = page.locator("#entries tr.fresh", has_text="<img src=x onerror=alert(5)>").first
    await row.wait_for()
    await _is_only_text(page)
    for path in PAGES[:-1]:
        await open_page(page, showcase, path)
        await _is_only_text(page)
    await open_hostile(page, showcase)
    shown = await page.locator("main").inner_text()
    assert SHOWN_ID in shown
    assert '"><svg onload=alert(3)> javascript:alert(4)' in shown
    await _is_only_text(page)
    await page.get_by_role("link", name="Replay…").click()
    await page.get_by_role("heading", name="Replay?").wait_for()
    await _is_only_text(page)


async def _is_only_text(page):
    injected = await page.evaluate(
        """() => [...document.querySelectorAll(
             "main script, main style, main img, main svg, main iframe, main b, body > script")]
             .map((each) => each.outerHTML)"""
    )
    assert injected == []
    controls = await page.evaluate(
        r"() => /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\ufeff]/"
        ".test(document.documentElement.outerHTML)"
    )
    assert not controls


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing(browser, showcase, scheme, width):
    """No page has a fault of accessibility that axe-core knows, whatever the colours and width."""
    context = await browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 800}, reduced_motion="reduce"
    )
    page = await context.new_page()
    found = {}

    async def examine(name):
        results = await Axe().run(page)
        wrong = results.response["violations"]
        if wrong:
            found[name] = [
                (each["impact"], each["id"], [node["target"] for node in each["nodes"]][:3])
                for each in wrong
            ]

    await page.goto(showcase.url)
    await examine("sign-in")
    await Watch(page, showcase.url).sign_in()
    for path in PAGES:
        await open_page(page, showcase, path)
        await examine(path)
    await open_hostile(page, showcase)
    await examine("delivery")
    for path in ("replay-all", page.url.split("/")[-1].replace("delivery?", "replay?")):
        await open_page(page, showcase, path)
        await examine(path)
    await context.close()
    assert found == {}


async def test_nothing_overflows_a_phone(browser, showcase):
    """On a narrow screen no page scrolls sideways as a whole."""
    context = await browser.new_context(viewport={"width": 360, "height": 740})
    page = await context.new_page()
    await Watch(page, showcase.url).sign_in()

    async def fits(name):
        wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, (name, wide)

    for path in PAGES:
        await open_page(page, showcase, path)
        await fits(path)
    await open_hostile(page, showcase)
    await fits("delivery")
    await context.close()


async def test_it_works_without_scripts(browser, showcase):
    """With scripts off everything but the live part works: here a filter and a replay."""
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await Watch(page, showcase.url).sign_in()
    await page.get_by_role("link", name="Dead letters").click()
    await page.get_by_label("Error contains").fill("payment service")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.get_by_role("link", name="inv_77").click()
    await page.get_by_role("link", name="Replay…").click()
    await page.get_by_role("button", name="Replay").click()
    await page.get_by_text("Replayed: it is due now").wait_for()
    await context.close()


async def test_a_link_in_a_chat_leads_in(browser, showcase):
    """Who is signed in and follows a link from another site sees the page, not the form."""
    page = await (await browser.new_context()).new_page()
    await Watch(page, showcase.url).sign_in()
    await page.goto(f"data:text/html,<a href='{showcase.url}dead'>look</a>")
    await page.get_by_role("link", name="look").click()
    await page.get_by_role("heading", name="Dead letters").wait_for()


async def test_pausing(page, showcase):
    """A paused view stays as it is, says how much came, and then shows it in order."""
    await live(page)
    await page.get_by_role("button", name="Pause").click()
    before = await page.locator("#entries tr").count()
    await showcase.send(showcase.client, "stripe", {"id": "evt_paused", "type": "charge.failed"})
    await page.get_by_text("paused, 3 more").wait_for()
    assert await page.locator("#entries tr").count() == before
    await page.get_by_role("button", name="Go on").click()
    kinds = await page.locator("#entries tr .badge").all_inner_texts()
    assert kinds[:3] == ["succeeded", "started", "received"]


async def test_a_lost_connection(browser, showcase):
    """The view goes on by itself behind what it has, and says so when it cannot."""
    [stream] = [each for each in showcase.pages._app.routes if each.path == "/stream"]
    stream.endpoint.__self__._longest = 1.0  # so that the server ends it every now and then
    page = await (await browser.new_context()).new_page()
    await Watch(page, showcase.url).sign_in()
    await live(page)
    await page.route("**/stream*", lambda route: route.abort())
    await page.locator("#status.away").wait_for()
    await showcase.send(showcase.client, "stripe", {"id": "evt_missed", "type": "charge.failed"})
    await page.unroute("**/stream*")
    missed = page.locator("#entries tr", has_text="evt_missed")
    await missed.nth(2).wait_for()
    await live(page)
    assert await missed.count() == 3  # each once


async def test_viewers_see_no_acts(browser, showcase):
    """Who may only look is offered nothing else."""
    context = await browser.new_context()
    page = await context.new_page()
    await Watch(page, showcase.url).sign_in(VIEWER)
    await open_hostile(page, showcase)
    assert await page.get_by_text("read-only").count() == 1
    assert await page.get_by_role("link", name="Replay").count() == 0
    await context.close()
