"""``tail`` shows what is recorded, before and from now on."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.cli.operating import command
from webhook_dedup import open_store
from webhook_dedup.observe.history import History
from webhook_dedup.observe.record import Kind, Record

NOW = 1_700_000_000.0


@pytest.fixture
async def history(url):
    """The history of a running app."""
    store = open_store(url)
    history = History(store, every=0.01)
    await history.start()
    yield history
    await history.aclose()
    await store.aclose()


async def keep(history, *told):
    for number, (kind, fields) in enumerate(told):
        record = {"source": "shop", "event_id": f"evt_{number}", "at": NOW + number, **fields}
        history.record(Record(kind, **record))
    assert await history.flush()


SOME = (
    (Kind.RECEIVED, {}),
    (Kind.SKIPPED, {"reason": "duplicate", "age": 1.5, "original": "done"}),
    (Kind.SKIPPED, {"reason": "filtered", "source": "git"}),
    (Kind.FAILED, {"attempt": 1, "duration": 0.25, "detail": "ValueError: no [bold]markup[/]"}),
)


async def shown(url, *arguments):
    done = await command("tail", "--no-follow", "--json", *arguments, url=url)
    return done.exit_code, [json.loads(line)["event_id"] for line in done.stdout.splitlines()]


async def test_filters(history, url):
    """Each filter leaves out what it does not mean; the latest come last."""
    await keep(history, *SOME)
    assert await shown(url) == (0, ["evt_0", "evt_1", "evt_2", "evt_3"])
    assert await shown(url, "--last", "2") == (0, ["evt_2", "evt_3"])
    assert await shown(url, "--source", "git") == (0, ["evt_2"])
    assert await shown(url, "--kind", "skipped") == (0, ["evt_1", "evt_2"])
    assert await shown(url, "--reason", "duplicate") == (0, ["evt_1"])
    assert await shown(url, "--reason", "nothing") == (1, [])
    assert (await command("tail", "--kind", "nothing", url=url)).exit_code == 2


async def test_for_people(history, url):
    """A line says what happened to which event of whom, and why; markup is only text."""
    await keep(history, *SOME)
    done = await command("tail", "--no-follow", url=url)
    lines = done.stdout.splitlines()
    assert lines[1].split() == [
        "2023-11-14",
        "22:13:21Z",
        "skipped",
        "shop",
        "evt_1",
        "reason=duplicate",
        "original=done",
        "age=1.500s",
    ]
    assert "ValueError: no [bold]markup[/]" in lines[3]


async def test_for_whom_and_of_what(history, url):
    """A line names the type of its event and the tenant it came for."""
    await keep(history, (Kind.STARTED, {"event_type": "push", "tenant": "ac me", "attempt": 1}))
    line = (await command("tail", "--no-follow", url=url)).stdout
    assert line.endswith(" started     shop evt_0  event_type=push  tenant=ac me  attempt=1\n")


@pytest.mark.parametrize("more", [[], ["--json"]])
async def test_nothing_fits(history, url, more):
    """That nothing fits is said, beside what machines read; and which reasons there are."""
    await keep(history, *SOME)
    done = await command("tail", "--no-follow", "--kind", "buried", *more, url=url)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "nothing fits among what is recorded so far\n"
    done = await command("tail", "--no-follow", "--reason", "dupli", *more, url=url)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "'dupli' is none of the usual reasons, which are duplicate, in_flight," in done.stderr


async def test_live(history, url):
    """What happens while it runs is shown at once, each entry one time; Ctrl-C ends it well."""
    await keep(history, *SOME)
    arguments = [sys.executable, "-m", "webhook_dedup", "tail", "--json", "--every", "0.05"]
    env = {**os.environ, "WEBHOOK_DEDUP_STORE": url}
    process = await asyncio.create_subprocess_exec(
        *arguments, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )

    async def line():
        return json.loads(await asyncio.wait_for(process.stdout.readline(), 30))["event_id"]

    try:
        assert [await line() for _ in SOME] == ["evt_0", "evt_1", "evt_2", "evt_3"]
        for number in range(10, 30):
            history.record(Record(Kind.STARTED, "shop", event_id=f"evt_{number}"))
        assert [await line() for _ in range(20)] == [f"evt_{number}" for number in range(10, 30)]
        process.send_signal(signal.SIGINT)
        rest, complaints = await asyncio.wait_for(process.communicate(), 30)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    assert (process.returncode, rest, complaints) == (0, b"", b"")


async def test_no_history(tmp_path):
    """Where no history is kept it is said how to keep one."""
    url = f"sqlite:///{tmp_path}/webhooks.db"
    store = open_store(url)
    await store.start()
    await store.aclose()
    done = await command("tail", url=url)
    assert done.exit_code == 1
    assert "observers=[History(" in done.stderr


async def test_nothing_recorded(history, url):
    """An empty history is told from one that goes on; in Redis it looks like none."""
    done = await command("tail", "--no-follow", url=url)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("no history is kept beside this store, or nothing is recorded")
    assert "observers=[History(" in done.stderr
    told = (await command("why", "evt_1", url=url)).stdout
    assert ("No history is kept beside this store" in told) is url.startswith("redis")
    await keep(history, *SOME)
    assert (await command("tail", "--no-follow", url=url)).stderr == ""


async def test_it_waits_for_the_first(history, url):
    """One that follows says that there is nothing, and shows what comes."""
    arguments = [sys.executable, "-m", "webhook_dedup", "tail", "--json", "--every", "0.05"]
    process = await asyncio.create_subprocess_exec(
        *arguments,
        env={**os.environ, "WEBHOOK_DEDUP_STORE": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert b"no history" in await asyncio.wait_for(process.stderr.readline(), 30)
        first = asyncio.ensure_future(asyncio.wait_for(process.stdout.readline(), 30))
        while not first.done():  # it says so before it follows
            await keep(history, (Kind.RECEIVED, {}))
            await asyncio.wait({first}, timeout=0.1)
        assert b"evt_0" in await first
    finally:
        process.kill()
        await process.communicate()


async def test_completion_is_offered():
    """The command completes itself in the shells that people use."""
    done = await command("--help")
    assert "--install-completion" in done.stdout
