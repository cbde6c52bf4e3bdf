"""``webhook-dedup dashboard`` serves the pages of an app from outside."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from contextlib import aclosing, asynccontextmanager

import httpx
import pytest

from tests.asgi.kit import until
from tests.cli.operating import command
from webhook_dedup import open_store
from webhook_dedup.inbox.sql import SqlInbox
from webhook_dedup.observe.history import History

from .kit import ADMIN, VIEWER, Desk, csrf_of, text_of

LIMIT = 30.0


@asynccontextmanager
async def served(url, *arguments, **variables):
    """Run the command; yield a client of its pages and its process."""
    env = {**os.environ, "WEBHOOK_DEDUP_STORE": url, **variables}
    line = [sys.executable, "-m", "webhook_dedup", "dashboard", "--port", "0", *arguments]
    process = await asyncio.create_subprocess_exec(
        *line, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        told = (await asyncio.wait_for(process.stdout.readline(), LIMIT)).decode()
        assert told, (await process.communicate())[1].decode()
        base = re.search(r"http://\S+", told)[0]
        async with httpx.AsyncClient(base_url=base, timeout=LIMIT) as client:
            yield client, process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await asyncio.wait_for(process.communicate(), LIMIT)


async def test_an_app_from_outside(url):
    """A dead letter is seen and replayed from another process; the app runs it soon."""
    async with Desk(url, 422) as desk:
        await desk.deliver()
        async with served(url) as (browser, _):
            page = await browser.get("/dead")
            assert "the handler answered 422" in text_of(page)
            row = re.search(r"delivery\?id=(\w+)", page.text)[1]
            csrf = csrf_of(await browser.get(f"/replay?id={row}"))
            done = await browser.post(f"/replay?id={row}", data={"csrf": csrf})
            assert done.status_code == 303
            await until(lambda: "succeeded" in desk.records.kinds)
            await desk.history.flush()
            story = f"/delivery?id={row}&event=evt_1&source=shop"
            while "replayed by hand" not in text_of(await browser.get(story)):  # noqa: ASYNC110 - another process, which tells nobody
                await asyncio.sleep(0.1)
            assert "Arrived 1" in text_of(await browser.get("/sources"))


@pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)
async def test_a_table_of_ones_own(url):
    """An app whose store has its own table is shown by a URL that names it, and by no other."""
    named = f"{url}?table=shop_claims"
    async with Desk(named, 422) as desk:
        await desk.deliver()
    async with served(named) as (browser, _):
        assert "the handler answered 422" in text_of(await browser.get("/dead"))
    async with served(url) as (browser, _):
        for path in ("/dead", "/dead?source=shop", "/deliveries"):
            page = text_of(await browser.get(path))
            assert "table webhook_dedup_inbox is absent" in page
            assert "Is this the store the app uses?" in page
            assert "None." not in page


async def test_an_inbox_elsewhere(tmp_path):
    """Dead letters that do not lie beside the claims are shown once the command knows where."""
    url, inbox = f"sqlite:///{tmp_path}/webhooks.db", f"sqlite:///{tmp_path}/inbox.db"
    elsewhere = SqlInbox.from_url(inbox)
    async with aclosing(elsewhere), Desk(url, 422, dedup={"inbox": elsewhere}) as desk:
        await desk.deliver()
    async with served(url, "--inbox", inbox) as (browser, _):
        assert "the handler answered 422" in text_of(await browser.get("/dead"))


async def test_below_a_proxys_prefix(tmp_path):
    """Links bear what a proxy takes off; a wrong token is told on the terminal."""
    url = f"sqlite:///{tmp_path}/webhooks.db"
    async with Desk(url) as desk:
        await desk.deliver()
    token = {"WEBHOOK_DEDUP_DASHBOARD_TOKEN": ADMIN}
    async with served(url, "--root-path", "/hooks", **token) as (browser, process):
        await browser.get("/", headers={"Authorization": "Bearer of-something-else"})
        page = await browser.get("/deliveries", headers={"Authorization": f"Bearer {ADMIN}"})
        assert page.status_code == 200
        links = re.findall(r'(?:href|src)="(/[^"]*)"', page.text)
        assert links
        assert all(link.startswith("/hooks/") for link in links), links
        told = await asyncio.wait_for(process.stderr.readline(), LIMIT)
        assert b"wrong token from '127.0.0.1'" in told


async def test_tokens(tmp_path):
    """With tokens one signs in; the read-only one opens pages alone."""
    url = f"sqlite:///{tmp_path}/webhooks.db"
    async with Desk(url, 422) as desk:
        await desk.deliver()
    tokens = {
        "WEBHOOK_DEDUP_DASHBOARD_TOKEN": ADMIN,
        "WEBHOOK_DEDUP_DASHBOARD_READ_ONLY_TOKEN": VIEWER,
    }
    async with served(url, "--host", "0.0.0.0", **tokens) as (browser, _):
        browser.base_url = str(browser.base_url).replace("0.0.0.0", "127.0.0.1")
        assert (await browser.get("/dead")).status_code == 401
        for token, status in ((VIEWER, 403), (ADMIN, 200)):
            headers = {"Authorization": f"Bearer {token}"}
            assert (await browser.get("/dead", headers=headers)).status_code == 200
            asked = await browser.get("/replay-all", headers=headers)
            assert asked.status_code == status


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.com"])
async def test_never_open_to_others_without_a_token(tmp_path, host):
    """Anything but this machine needs a token, said in one line."""
    url = f"sqlite:///{tmp_path}/webhooks.db"
    store = open_store(url)
    await store.start()
    await store.aclose()
    done = await command("dashboard", "--host", host, url=url)
    assert done.exit_code == 2
    assert "WEBHOOK_DEDUP_DASHBOARD_TOKEN" in done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_a_port_that_is_taken(tmp_path):
    """A place that cannot be listened at is told, with the exit code of what is refused."""
    url = f"sqlite:///{tmp_path}/webhooks.db"
    async with Desk(url) as desk:
        await desk.deliver()
    async with served(url) as (browser, _):
        port = str(browser.base_url.port)
        done = await command("dashboard", "--port", port, url=url)
    assert done.exit_code == 1
    assert f"the pages cannot be served at 127.0.0.1:{port}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "url", "said"),
    [
        (["--token", "short"], "sqlite:///x.db", "16 characters"),
        (["--root-path", "hooks"], "sqlite:///x.db", "such as /hooks"),
        (["--root-path", "/hooks/"], "sqlite:///x.db", "without a slash at its end"),
        ([], "", "which store"),
        ([], "memory://", "nobody else can look into it"),
        ([], "sqlite:///nothing.db", "there is no file"),
    ],
)
async def test_misused(tmp_path, monkeypatch, arguments, url, said):
    """A mistake is told in one line, and no file is made."""
    monkeypatch.chdir(tmp_path)
    done = await command("dashboard", *arguments, url=url)
    assert done.exit_code in {1, 2}
    assert said in done.stderr
    assert not list(tmp_path.iterdir())


async def test_the_history_may_begin_later(tmp_path):
    """Pages opened before the app keeps a history tell it from then on."""
    url = f"sqlite:///{tmp_path}/webhooks.db"
    async with Desk(url, history=False) as desk:
        await desk.deliver("evt_1")
    async with served(url) as (browser, _):
        assert "No history is kept" in text_of(await browser.get("/"))
        async with Desk(url) as desk:
            await desk.deliver("evt_2")
        while "evt_2" not in text_of(await browser.get("/")):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_ends_while_somebody_listens(tmp_path, number):
    """A signal ends the server, live views and all, without a complaint."""
    url = f"sqlite:///{tmp_path}/webhooks.db"
    async with Desk(url) as desk:
        await desk.deliver()
    async with served(url) as (browser, process), browser.stream("GET", "/stream") as stream:
        lines = stream.aiter_lines()
        assert await anext(lines)
        process.send_signal(number)
        _, complaints = await asyncio.wait_for(process.communicate(), LIMIT)
    assert complaints == b""
    assert process.returncode in {0, -number, 128 + number, 130}


async def test_headers_masked_from_outside(tmp_path):
    """A header named to the command is not shown, though the app kept its value."""
    url = f"sqlite:///{tmp_path}/webhooks.db"
    async with Desk(url) as desk:
        await desk.deliver(headers={"X-Customer": "Jane Roe"})
    story = "/delivery?event=evt_1&source=shop"
    for arguments, shown in (((), True), (("--mask-header", "X-Customer"), False)):
        async with served(url, *arguments) as (browser, _):
            page = text_of(await browser.get(story))
            assert "x-customer" in page.lower()
            assert ("Jane Roe" in page) is shown


async def test_looking_deletes_nothing(tmp_path, monkeypatch):
    """The command leaves it to the app how much of its history is kept, and for how long."""
    opened = []

    class Opened(History):
        def __init__(self, place, **options):
            opened.append(options)
            super().__init__(place, **options)

    async def left_at_once(_):
        pass

    monkeypatch.setattr("webhook_dedup.cli.dashboard.History", Opened)
    monkeypatch.setattr("webhook_dedup.cli.dashboard._Server.serve", left_at_once)
    url = f"sqlite:///{tmp_path}/webhooks.db"
    async with Desk(url) as desk:
        await desk.deliver()
    assert (await command("dashboard", url=url)).exit_code == 0
    assert opened == [{"trims": False}]
