"""What operators do with commands is kept in the history, with who did it."""

import getpass
import socket
import sqlite3
from contextlib import aclosing

import pytest
from msgspec.structs import replace

from tests.cli.operating import FAILED, app_inbox, command, item
from webhook_dedup import open_store
from webhook_dedup.guards import Budget
from webhook_dedup.model import Bid, Key, new_token
from webhook_dedup.observe.history import History
from webhook_dedup.observe.record import Kind, Record

BY = f"by {getpass.getuser()} on {socket.gethostname()}"
KEY = Key("webhook:stripe", "evt_1", "acme")

OF_ACME = ["--source", "stripe", "--tenant", "acme"]


@pytest.fixture
async def app(url):
    """Opens an app's inbox with one dead letter in it; the event's claim is held."""
    dead = replace(item("dead-1"), key=str(KEY))
    async with app_inbox(url) as inbox, aclosing(open_store(url)) as store:
        await inbox.put([dead], 60)
        assert await inbox.bury(dead, FAILED)
        await store.claim([Bid(str(KEY), new_token(), 60)])
    return url


@pytest.fixture
async def history(app):
    """The history of that app, which has told of the delivery."""
    async with aclosing(History(app)) as history:
        await history.start()
        history.record(Record(Kind.RECEIVED, "stripe", event_id="evt_1", tenant="acme"))
        assert await history.flush()
        yield history


ACTS = [
    (["inbox", "replay", "dead-1"], Kind.RETRIED, "replayed"),
    (["inbox", "replay", "--source", "stripe", "--yes"], Kind.RETRIED, "replayed"),
    (["inbox", "purge", "dead-1"], Kind.ESCALATED, "purged"),
    (["stores", "forget", "evt_1", *OF_ACME], Kind.ESCALATED, "forgotten"),
]


@pytest.mark.parametrize(("act", "kind", "reason"), ACTS)
async def test_acts_are_kept(history, url, act, kind, reason):
    """Each is recorded as the dashboard does it, and only if something was done."""
    for code in (0, 1) if reason != "replayed" else (0,):
        assert (await command(*act, url=url)).exit_code == code
    last, _ = await history.find()
    record = last.record
    assert (record.kind, record.reason, record.detail) == (kind, reason, BY)
    assert (record.source, record.event_id, record.tenant) == ("stripe", "evt_1", "acme")
    assert record.delivery_id == ("dead-1" if act[0] == "inbox" else None)
    told = await command("why", "evt_1", *OF_ACME, url=url)
    assert f"by hand: {BY}" in told.stdout


async def test_a_buried_one_is_kept(history, url):
    """What was waiting and is buried is recorded, and what is gone is not."""
    await command("inbox", "replay", "dead-1", url=url)
    done = await command("inbox", "bury", "dead-1", "gone", url=url)
    assert "1 of 2" in done.stdout
    reasons = [entry.record.reason for entry in await history.find()]
    assert reasons == ["buried", "replayed", None]


async def test_a_budget_given_back_is_kept(history, url):
    """The subject is named, since a budget is no event's."""
    spent = Budget(1, 60)._subjects.key_of("t", "stripe", 0)
    async with aclosing(open_store(url)) as store:
        await store.claim([Bid(str(spent), new_token(), 60)])
    order = ["stores", "reset-budget", "t", "--source", "stripe", "--sends", "1"]
    assert (await command(*order, url=url)).exit_code == 0
    record = (await history.find())[0].record
    assert (record.reason, record.detail) == ("budget_reset", f"of t, {BY}")


@pytest.mark.parametrize("act", [act for act, *_ in ACTS])
async def test_none_is_begun(app, url, act):
    """Where no history is kept none is made, and the act is done all the same."""
    assert (await command(*act, url=url)).exit_code == 0
    told = await command("why", "evt_1", "--source", "stripe", url=url)
    assert "No history is kept" in told.stdout


async def test_a_history_that_takes_nothing(history, url, monkeypatch):
    """The act is done; that it is not recorded is said."""

    async def refuse(_):
        return False

    monkeypatch.setattr(History, "flush", refuse)
    done = await command("inbox", "replay", "dead-1", url=url)
    assert (done.exit_code, done.stdout) == (0, "replay: 1 of 1\n")
    assert "did not take the record" in done.stderr


async def test_a_history_of_another_release(tmp_path):
    """An event is forgotten all the same; that it is not recorded is said."""
    key, file_url = Key("webhook:stripe", "evt_1"), f"sqlite:///{tmp_path}/webhooks.db"
    async with aclosing(open_store(file_url)) as store, aclosing(History(file_url)) as history:
        await store.claim([Bid(str(key), new_token(), 60)])
        await history.start()
    with sqlite3.connect(file_url.removeprefix("sqlite:///")) as database:
        database.execute("UPDATE webhook_dedup_history_version SET version = 99")
    done = await command("stores", "forget", "evt_1", "--source", "stripe", url=file_url)
    assert (done.exit_code, done.stdout[:9]) == (0, "forgotten")
    assert "did not take the record of it: table webhook_dedup_history has" in done.stderr
