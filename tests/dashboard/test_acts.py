"""What an admin does happens, and it is kept who did it."""

import re

import pytest

from tests.asgi.kit import until
from webhook_dedup.contracts import Sought
from webhook_dedup.model import Key

from .kit import ADMIN, Desk, csrf_of, text_of


async def acted(browser, path, **form):
    """Answer what an act asks, and return the page one is led to."""
    asked = await browser.get(path)
    assert asked.status_code == 200, asked.text
    csrf = csrf_of(asked)
    answer = await browser.post(path, data={"csrf": csrf, **form})
    assert answer.status_code == 303, answer.text
    return await browser.get(answer.headers["location"].partition("/webhook-dedup/")[2])


async def only_item(desk):
    [item] = await desk.dedup.inbox.find(Sought())
    return item


async def test_replaying_a_dead_letter(url):
    """It is asked about, runs soon with its exact bytes, succeeds, and is told with who did it."""
    async with Desk(url, 422) as desk:
        await desk.deliver()
        item = await only_item(desk)
        assert item.dead
        browser = await desk.signed_in()
        page = await acted(browser, f"replay?id={item.id}")
        assert "Replayed: it is due now" in text_of(page)
        await until(lambda: len(desk.handler.runs) == 2)
        assert desk.handler.runs[0] == desk.handler.runs[1]
        await until(lambda: "succeeded" in desk.records.kinds)
        assert not await desk.dedup.inbox.count(Sought())
        await desk.history.flush()
        story = text_of(await browser.get("delivery?event=evt_1&source=shop"))
        assert "replayed by hand: by admin at 127.0.0.1" in story
        assert "It arrived once and ran twice." in story
        assert "Attempts 2" in story


async def test_replaying_all_that_fit(url):
    """The filter says which, the page how many, and only those run."""
    async with Desk(url) as desk:
        desk.handler._statuses[:] = [422, 422, 422]
        for event in ("evt_a1", "evt_a2", "evt_b1"):
            await desk.deliver(event)
        browser = await desk.signed_in()
        asked = text_of(await browser.get("replay-all?text=evt_a"))
        assert "Replay 2 dead letters?" in asked
        assert "evt_b1" not in asked
        page = await acted(browser, "replay-all?text=evt_a")
        assert "2 replayed" in text_of(page)
        await until(lambda: desk.records.kinds.count("succeeded") == 2)
        left = await only_item(desk)
        assert (left.event_id, left.dead) == ("evt_b1", True)


async def test_burying_what_waits(url):
    """A waiting delivery is set aside with the reason given, and by whom."""
    async with Desk(url, ValueError("no such customer")) as desk:
        await desk.deliver()
        item = await only_item(desk)
        assert not item.dead
        browser = await desk.signed_in()
        page = await acted(browser, f"bury?id={item.id}", reason="their fault <b>")
        assert "Buried: it runs only when it is replayed." in text_of(page)
        item = await only_item(desk)
        assert item.dead
        assert item.history[-1].error == "buried by admin at 127.0.0.1: their fault <b>"
        again = await acted(browser, f"bury?id={item.id}")
        assert "Nothing done: it was gone already." in text_of(again)


async def test_forgetting_an_event(url):
    """The next delivery of a forgotten event runs, also where this process saw it done."""
    async with Desk(url) as desk:
        await desk.deliver()
        await desk.deliver()
        assert len(desk.handler.runs) == 1
        browser = await desk.signed_in()
        page = await acted(browser, "forget?event=evt_1&source=shop")
        assert "Forgotten: its next delivery runs." in text_of(page)
        assert await desk.store.look([str(Key("webhook:shop", "evt_1"))]) == [None]
        await desk.deliver()
        assert len(desk.handler.runs) == 2
        story = text_of(await browser.get("delivery?event=evt_1&source=shop"))
        assert "forgotten by hand: by admin at 127.0.0.1" in story
        live = text_of(await browser.get("?reason=forgotten"))
        assert "forgotten shop evt_1 by admin at 127.0.0.1" in live


async def test_forgetting_for_a_tenant(tmp_path):
    """Only the tenant's own event is forgotten."""
    async with Desk(f"sqlite:///{tmp_path}/webhooks.db", path="/hooks/{tenant}") as desk:
        for tenant in ("acme", "other"):
            await desk.deliver(path=f"/hooks/{tenant}")
        browser = await desk.signed_in()
        await acted(browser, "forget?event=evt_1&source=shop&tenant=acme")
        keys = [str(Key("webhook:shop", "evt_1", tenant)) for tenant in ("acme", "other")]
        forgotten, kept = await desk.store.look(keys)
        assert forgotten is None
        assert kept.done


async def test_nothing_to_act_on(desk):
    """What is gone is said to be gone."""
    async with desk.browser(ADMIN) as program:
        for path in ("replay?id=x", "bury?id=x", "forget?event=x&source=shop", "replay", "forget"):
            for method in ("GET", "POST"):
                assert (await program.request(method, path)).status_code == 404, path
        assert "No dead letter fits" in text_of(await program.get("replay-all"))


class Mindful:
    """A store that can be looked into, and forgets nothing."""

    name = "mindful"

    def __init__(self, store):
        self.look = store.look


async def test_a_store_that_cannot_forget(desk, monkeypatch):
    """A store without that power is named."""
    await desk.deliver()
    monkeypatch.setattr(desk.dedup, "seen", None)
    monkeypatch.setattr(desk.dedup, "store", Mindful(desk.store))
    async with desk.browser(ADMIN) as program:
        answer = await program.post("forget?event=evt_1&source=shop")
    assert answer.status_code == 409
    assert "mindful cannot forget single events" in answer.text


@pytest.mark.parametrize("history", [True, False])
async def test_what_was_done_is_logged(tmp_path, caplog, history):
    """Every act is one line of the log, whether or not a history is kept."""
    caplog.set_level("INFO", logger="webhook_dedup")
    async with Desk(f"sqlite:///{tmp_path}/webhooks.db", 422, history=history) as desk:
        await desk.deliver()
        item = await only_item(desk)
        async with desk.browser(ADMIN) as program:
            await program.post(f"replay?id={item.id}")
    lines = [each for each in caplog.records if "replayed" in each.getMessage()]
    assert len(lines) == 1
    assert lines[0].levelname == "INFO"
    assert lines[0].webhook_dedup["delivery_id"] == item.id
    assert lines[0].getMessage() == "replayed 'evt_1' of shop by admin at 127.0.0.1"


async def test_replaying_all_that_were_seen(desk):
    """What came after one looked is not replayed: the page asks again, with the new number."""
    desk.handler._statuses[:] = [422, 422]
    await desk.deliver("evt_1")
    browser = await desk.signed_in()
    page = await browser.get("replay-all")
    form = {"csrf": csrf_of(page), "seen": re.search(r'name="seen" value="(\w+)"', page.text)[1]}
    await desk.deliver("evt_2")
    again = await browser.post("replay-all", data=form)
    assert again.status_code == 409
    assert "nothing was replayed" in text_of(again)
    assert "Replay 2 dead letters?" in text_of(again)
    assert await desk.dedup.inbox.count(Sought(state="dead")) == 2
    form["seen"] = re.search(r'name="seen" value="(\w+)"', again.text)[1]
    assert (await browser.post("replay-all", data=form)).status_code == 303
    await until(lambda: desk.records.kinds.count("succeeded") == 2)


async def test_only_what_was_done_is_recorded(desk, monkeypatch):
    """Of deliveries that are gone when the act comes to them, no record names one."""
    desk.handler._statuses[:] = [422, 422, 422]
    for event in ("evt_1", "evt_2", "evt_3"):
        await desk.deliver(event)
    items = await desk.dedup.inbox.find(Sought())
    requeue = desk.dedup.inbox.requeue

    async def late(ids):
        return await requeue([each for each in ids if each == items[1].id])

    monkeypatch.setattr(desk.dedup.inbox, "requeue", late)
    async with desk.browser(ADMIN) as program:
        assert (await program.post("replay-all")).status_code == 303
    await desk.history.flush()
    found = await desk.history.find(reason="replayed")
    assert [entry.record.event_id for entry in found] == ["evt_2"]


async def test_no_link_claims_an_act(desk):
    """An address made elsewhere, or changed, tells of no act; nor does one sent to a colleague."""
    desk.handler._statuses[:] = [422]
    await desk.deliver()
    item = await only_item(desk)
    browser, other = await desk.signed_in(), await desk.signed_in()
    story = f"delivery?id={item.id}&done=forgotten&number=1"
    for path in (
        story,
        f"{story}&proof={'0' * 64}",
        f"{story}&proof=%C3%A9",
        "dead?done=replayed&number=5",
    ):
        page = await browser.get(path)
        assert page.status_code == 200
        assert 'class="done"' not in page.text
    form = {"csrf": csrf_of(await browser.get(f"bury?id={item.id}"))}
    there = (await browser.post(f"bury?id={item.id}", data=form)).headers["location"]
    there = there.partition("/webhook-dedup/")[2]
    assert 'class="done"' in (await browser.get(there)).text
    assert 'class="done"' not in (await other.get(there)).text
    for changed in (there.replace("number=0", "number=1"), there.replace("buried", "replayed")):
        assert changed != there
        assert 'class="done"' not in (await browser.get(changed)).text


async def test_forgetting_names_no_other_delivery(desk):
    """The id of another event's delivery is not recorded, and its page is not where one is led."""
    await desk.deliver("evt_1")
    desk.handler._statuses[:] = [422]
    await desk.deliver("evt_2")
    item = await only_item(desk)
    async with desk.browser(ADMIN) as program:
        answer = await program.post(f"forget?event=evt_1&source=shop&id={item.id}")
    assert item.id not in answer.headers["location"]
    await desk.history.flush()
    [entry] = await desk.history.find(reason="forgotten")
    assert (entry.record.event_id, entry.record.delivery_id) == ("evt_1", None)
