"""Commands find an app's store and its inbox wherever the app keeps them."""

import asyncio
import json
from contextlib import aclosing

import pytest

from tests.cli.operating import FAILED, app_inbox, command, item
from webhook_dedup import open_store
from webhook_dedup.cli.storage import opened_history
from webhook_dedup.inbox.sql import SqlInbox
from webhook_dedup.observe.history import History
from webhook_dedup.stores.sql import SqlStore


@pytest.fixture
async def beside(url, tmp_path):
    """A store at ``url``, and a dead letter in a file of its own: that file's URL."""
    inbox = f"sqlite:///{tmp_path}/inbox.db"
    async with aclosing(open_store(url)) as store:
        await store.start()
    async with app_inbox(inbox) as opened:
        dead = item()
        await opened.put([dead], 60)
        await opened.bury(dead, FAILED)
    return inbox


async def test_an_inbox_elsewhere(url, beside, monkeypatch):
    """What lies beside another store than the claims is found by an option or a variable."""
    for more in (["--inbox", beside], []):
        told = await command("why", "evt_1", "--source", "stripe", *more, url=url)
        assert "TimeoutError: too slow" in told.stdout
        for store in (url, ""):
            assert "1 of 1" in (await command("inbox", "list", *more, url=store)).stdout
        monkeypatch.setenv("WEBHOOK_DEDUP_INBOX", beside)
    assert (
        "1 of 1" in (await command("inbox", "replay", "--state", "dead", "--yes", url=url)).stdout
    )


async def test_the_doctor_examines_an_inbox_elsewhere(url, beside):
    """It looks at both urls, and takes neither for the other."""
    done = await command("doctor", "--json", "--inbox", beside, url=url)
    findings = {each["check"]: each for each in json.loads(done.stdout)["findings"]}
    assert done.exit_code == 0
    assert {"store", "version", "dead letters", "inbox version", "inbox clock"} <= set(findings)
    assert "sqlite" in findings["inbox version"]["text"]
    gone = await command("doctor", "--inbox", f"{beside}.gone", url=url)
    assert gone.exit_code == 1
    assert "inbox: there is no file" in gone.stdout


async def test_claims_in_memory_and_an_inbox_on_disk(beside):
    """Where the inbox lasts, what is said to end with the process are the claims alone."""
    for more, lost in ((["--inbox", beside], False), ([], True)):
        done = await command("doctor", *more, url="memory://")
        assert ("not handled yet are lost" in done.stdout) is lost
        assert ("dead letters" in done.stdout) is not lost


@pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)
async def test_a_table_of_ones_own(url):
    """A URL that names the table leads every command to what an argument of that name made."""
    async with aclosing(SqlStore.from_url(url, table="shop_claims")) as store:
        await store.start()
        inbox = SqlInbox.beside(store)
        await inbox.put([item()], 60)
        await inbox.aclose()
    named = f"{url}?table=shop_claims"
    assert "1 of 1" in (await command("inbox", "list", url=named)).stdout
    assert (await command("why", "evt_1", "--source", "stripe", url=named)).exit_code == 0
    assert (await command("doctor", "--max-age", "9999d", url=named)).exit_code == 0
    assert (await command("inbox", "list", url=url)).exit_code == 1


async def test_interruption_while_the_history_is_closed_is_not_swallowed(tmp_path, monkeypatch):
    """A Ctrl-C ends the command also when it arrives in its last moment."""
    closing = asyncio.Event()

    async def aclose(_):
        closing.set()
        await asyncio.sleep(3600)

    monkeypatch.setattr(History, "aclose", aclose)
    store = SqlStore.from_url(f"sqlite:///{tmp_path}/store.db")

    async def looking():
        async with opened_history(store):
            pass

    running = asyncio.create_task(looking())
    await closing.wait()
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    await store.aclose()
