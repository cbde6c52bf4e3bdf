"""Operators see and move what is in the inbox; what senders wrote cannot steer their terminal."""

import asyncio
import base64
import json
import os
import pty
import subprocess
import sys

import pytest

from tests.cli.operating import FAILED, app_inbox, command, item


@pytest.fixture
def file_url(tmp_path):
    return f"sqlite:///{tmp_path}/webhooks.db"


def lines(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


async def put(inbox, *items, dead=(), lease=60):
    await inbox.put([*items, *dead], lease)
    for each in dead:
        assert await inbox.bury(each, FAILED)


async def test_list_filters(url):
    """Each filter leaves out what it does not mean; a page is as long as it may be."""
    old, new = item("old", event_id="evt_old"), item("new", source="github", received_at=4e9)
    failed = item("failed")
    async with app_inbox(url) as inbox:
        await put(inbox, old, new, dead=[failed])

    async def ids(*arguments):
        done = await command("inbox", "list", "--json", *arguments, url=url)
        assert done.exit_code == (0 if done.stdout else 1), done.output
        return [line["id"] for line in lines(done)]

    assert await ids() == ["failed", "old", "new"]
    assert await ids("--limit", "2") == ["failed", "old"]
    assert await ids("--source", "github") == ["new"]
    assert await ids("--state", "dead") == ["failed"]
    assert await ids("--state", "waiting") == ["old", "new"]
    assert await ids("--older-than", "3d") == ["failed", "old"]
    assert await ids("--younger-than", "10m") == ["new"]
    assert await ids("--error", "TOO slow") == ["failed"]
    assert await ids("--event-id", "evt_old") == ["old"]
    assert await ids("--source", "nobody") == []


async def test_list_for_people(url):
    """The table has whole ids and says how many items there are beside the page."""
    items = [item() for _ in range(3)]
    async with app_inbox(url) as inbox:
        await put(inbox, *items)
    done = await command("inbox", "list", "--limit", "2", url=url)
    assert done.exit_code == 0
    assert sum(each.id in done.stdout for each in items) == 2
    assert done.stdout.splitlines()[-1] == "2 of 3"


async def test_replay_makes_due(url):
    """A replayed dead letter is due at once, with its attempts at zero and its exact delivery."""
    failed = item("failed", body=b"\xff\x00", headers=((b"X-A", b"\xe9"),))
    async with app_inbox(url) as inbox:
        await put(inbox, dead=[failed])
        assert await inbox.take(10, 60) == []
        done = await command("inbox", "replay", "failed", "--json", url=url)
        assert (done.exit_code, lines(done)) == (
            0,
            [{"action": "replay", "matched": 1, "done": 1}],
        )
        (taken,) = await inbox.take(10, 60)
    assert taken.delivery == failed.delivery
    assert (taken.attempts, taken.dead, taken.history) == (0, False, (FAILED,))


async def test_bulk_goes_page_by_page(url):
    """A filter acts on all its items over many pages, and on the dead ones alone."""
    dead, waiting = [item() for _ in range(120)], item("waiting")
    async with app_inbox(url) as inbox:
        await put(inbox, waiting, dead=dead)
        done = await command("inbox", "replay", "--source", "stripe", "--yes", url=url)
        assert (done.exit_code, done.stdout) == (0, "replay: 120 of 120\n")
        taken = await inbox.take(500, 60)
    assert {each.id for each in taken} == {each.id for each in dead}


@pytest.mark.parametrize("verb", ["replay", "bury", "purge"])
async def test_nobody_to_ask(file_url, verb):
    """Without a terminal and without --yes a filter shows the count and changes nothing."""
    async with app_inbox(file_url) as inbox:
        await put(inbox, item("waiting"), dead=[item("failed")])
        done = await command("inbox", verb, "--source", "stripe", url=file_url)
        assert done.exit_code == 1
        assert f"{verb} 1 item?" in done.stderr
        waiting, failed = await inbox.get("waiting"), await inbox.get("failed")
    assert (waiting.dead, failed.dead) == (False, True)


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
async def test_asking(file_url, answer, code):
    """At a terminal the count is shown and the answer obeyed."""
    async with app_inbox(file_url) as inbox:
        await put(inbox, dead=[item("a"), item("b")])
        done = await asyncio.to_thread(at_terminal, file_url, answer)
        assert done.returncode == code, done.stderr
        assert "purge 2 items?" in done.stderr
        assert (await inbox.get("a") is None) == (code == 0)


def at_terminal(url, answer):
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        arguments = ["inbox", "purge", "--state", "dead", "--store", url]
        return subprocess.run(
            [sys.executable, "-m", "webhook_dedup", *arguments],
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)


async def test_bury_and_purge(url):
    """Burying takes a waiting item out of the run with its reason; purging deletes it."""
    async with app_inbox(url) as inbox:
        await put(inbox, item("a"), lease=0)
        done = await command("inbox", "bury", "a", "--reason", "harmful", url=url)
        assert done.exit_code == 0, done.output
        buried = await inbox.get("a")
        assert (buried.dead, buried.history[-1].error) == (True, "harmful")
        assert await inbox.take(10, 60) == []
        assert (await command("inbox", "purge", "a", url=url)).exit_code == 0
        assert await inbox.get("a") is None
    assert (await command("inbox", "purge", "a", url=url)).exit_code == 1


async def test_stats(url):
    """The states are counted, with the time of the oldest."""
    async with app_inbox(url) as inbox:
        await put(inbox, item(), item(received_at=5.0), dead=[item(source="github")])
    done = await command("inbox", "stats", "--json", url=url)
    (counted,) = lines(done)
    assert counted["waiting"] == {"count": 2, "oldest_received_at": 5.0}
    assert counted["dead"]["count"] == 1
    (counted,) = lines(await command("inbox", "stats", "--source", "github", "--json", url=url))
    assert counted["waiting"] == {"count": 0, "oldest_received_at": None}
    assert "1970-01-01 00:00:05Z" in (await command("inbox", "stats", url=url)).stdout


SECRETS = (
    "Authorization",
    "Proxy-Authorization",
    "cookie",
    "X-Hub-Signature-256",
    "Stripe-Signature",
    "X-Signature",
    "X-Gitlab-Token",
    "X-Api-Key",
)


async def test_secrets_are_masked(file_url):
    """Headers and query fields that hold secrets are named, and their values shown nowhere."""
    headers = tuple((name.encode(), b"hunter2") for name in SECRETS)
    held = item(
        "a",
        headers=(*headers, (b"X-GitHub-Delivery", b"public")),
        query_string=b"token=hunter2&page=7",
    )
    async with app_inbox(file_url) as inbox:
        await put(inbox, held)
    for more in ([], ["--json"]):
        done = await command("inbox", "show", "a", *more, url=file_url)
        assert done.exit_code == 0, done.output
        assert "hunter2" not in done.output
        assert all(text in done.stdout for text in (*SECRETS, "public", "token=***", "page=7"))


async def test_bodies_for_machines(file_url):
    """A body of text is given as text, any other as base64, both with their size."""
    binary = b"\xff\x1b[2J\0"
    async with app_inbox(file_url) as inbox:
        await put(inbox, item("text", body='{"a": "é"}'.encode()), item("binary", body=binary))
    (text,) = lines(await command("inbox", "show", "text", "--json", url=file_url))
    assert (text["body_text"], text["body_base64"], text["body_size"]) == ('{"a": "é"}', None, 11)
    (other,) = lines(await command("inbox", "show", "binary", "--json", url=file_url))
    assert (base64.b64decode(other["body_base64"]), other["body_text"]) == (binary, None)
    people = await command("inbox", "show", "binary", url=file_url)
    assert "6 bytes that are no text" in people.stdout


HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\x7f\x9b31m\u202e\u2028[red]:boom:[/]\ud800"


async def test_hostile_values(url):
    """Whatever a sender wrote, neither people's output nor machines' has it raw."""
    raw = HOSTILE.encode("utf-8", "replace")
    held = item(
        f"id-{HOSTILE}",
        source=HOSTILE,
        event_id=HOSTILE,
        body=raw,
        headers=((raw, raw),),
        query_string=raw,
        client=(HOSTILE, 1),
    )
    failed = type(FAILED)(float("nan"), HOSTILE, 1e300, HOSTILE)
    async with app_inbox(url) as inbox:
        await inbox.put([held], 60)
        assert await inbox.bury(held, failed)
    for arguments in (["list"], ["show", held.id], ["show", "no-" + HOSTILE], ["stats"]):
        for more in ([], ["--json"]):
            done = await command("inbox", *arguments, *more, url=url)
            assert done.exception is None or isinstance(done.exception, SystemExit)
            text = done.output.replace("\n", "")
            assert text.isprintable(), (arguments, more)
    table = (await command("inbox", "list", url=url)).stdout
    assert "[red]:boom:[/]" in table
    (listed,) = lines(await command("inbox", "list", "--json", url=url))
    assert listed["event_id"] == HOSTILE
    assert (await command("inbox", "replay", held.id, url=url)).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["replay"], 2),
        (["replay", "a", "--source", "stripe"], 2),
        (["list", "--older-than", "soon"], 2),
        (["list", "--older-than", "inf"], 2),
        (["list", "--state", "gone"], 2),
        (["show", "nobody"], 1),
        (["list"], 1),
        (["purge", "--state", "dead"], 1),
        (["stats"], 0),
    ],
)
async def test_exit_codes(file_url, arguments, code):
    """0 is done, 1 is nothing found, 2 is wrong usage."""
    async with app_inbox(file_url) as inbox:
        await inbox.start()
    assert (await command("inbox", *arguments, url=file_url)).exit_code == code


@pytest.mark.parametrize(
    ("store", "code", "said"),
    [
        ("", 2, "WEBHOOK_DEDUP_STORE"),
        ("memory://", 2, "inside its process"),
        ("bloom://", 2, "inside its process"),
        ("mysql://localhost", 2, "sqlite:///webhooks.db"),
        ("redis://127.0.0.1:1", 1, "cannot be reached"),
        ("postgresql://127.0.0.1:1/x?timeout=2", 1, "127.0.0.1"),
    ],
)
async def test_no_inbox(store, code, said):
    """Where there is nothing to look into, one sentence says why."""
    done = await command("inbox", "list", url=store)
    assert (done.exit_code, done.stdout) == (code, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_no_table(postgres_url):
    """An absent table is said in one sentence and not made."""
    for _ in range(2):
        done = await command("inbox", "list", url=postgres_url)
        assert done.exit_code == 1
        assert done.stderr == (
            "table webhook_dedup_inbox is absent; is this the store the app uses?\n"
        )


async def test_no_file(tmp_path):
    """A SQLite file that is absent is not made."""
    done = await command("inbox", "list", url=f"sqlite:///{tmp_path}/none.db")
    assert done.exit_code == 1
    assert list(tmp_path.iterdir()) == []
