"""The command in a shell: it completes itself, and long work shows how far it is."""

import os
import pty
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.cli.operating import FAILED, app_inbox, item
from webhook_dedup.cli.items import COLUMNS

BIN = Path(sys.executable).parent
COMPLETE = """
source "$HOME/.bashrc"
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_webhook_dedup_completion webhook-dedup
echo "${COMPREPLY[@]}"
"""


@pytest.fixture
def bash(tmp_path):
    """A shell of somebody who has nothing set up yet."""

    def run(script, *arguments):
        env = {"HOME": str(tmp_path), "PATH": f"{BIN}:{os.environ['PATH']}", "LANG": "C.UTF-8"}
        command = ["bash", "--norc", "-c", script, "bash", *arguments]
        return subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=60, check=True
        ).stdout

    return run


def test_completion(bash):
    """Once installed, commands, options and the names of providers complete themselves."""
    assert "completion installed" in bash("webhook-dedup --install-completion && true")
    assert bash(COMPLETE, "webhook-dedup", "do").split() == ["doctor"]
    assert bash(COMPLETE, "webhook-dedup", "inbox", "re").split() == ["replay"]
    assert bash(COMPLETE, "webhook-dedup", "tail", "--kind", "sk").split() == ["skipped"]
    assert bash(COMPLETE, "webhook-dedup", "doctor", "--st").split() == ["--strict", "--store"]
    assert "stripe" in bash(COMPLETE, "webhook-dedup", "doctor", "--provider", "st").split()


def terminal(*arguments):
    """Run the command with a terminal for its complaints; return all three: code, answer, those."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-m", "webhook_dedup", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=theirs, env=env, text=True
    ) as process:
        os.close(theirs)
        seen = b""
        try:
            while part := os.read(ours, 4096):
                seen += part
        except OSError:  # the other end is closed
            pass
        answer = process.stdout.read()
    os.close(ours)
    return process.returncode, answer, seen.decode()


def piped(*arguments):
    """Run the command without a terminal; return its answer and its complaints."""
    command = [sys.executable, "-m", "webhook_dedup", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, done.stderr


async def many_dead(url, number):
    items = [item() for _ in range(number)]
    async with app_inbox(url) as inbox:
        await inbox.put(items, 60)
        for each in items:
            await inbox.bury(each, FAILED)


@pytest.mark.parametrize("verb", ["replay", "purge"])
async def test_bulk_work_shows_how_far_it_is(tmp_path, verb):
    """At a terminal a bar runs while items are looked for and acted on; a pipe is spared it."""
    url, number = f"sqlite:///{tmp_path}/webhooks.db", 120
    await many_dead(url, number)
    order = ["inbox", verb, "--state", "dead", "--yes", "--store", url]
    code, answer, seen = terminal(*order)
    assert (code, answer) == (0, f"{verb}: {number} of {number}\n")
    assert f"{number}/{number}" in seen
    assert "look" in seen
    assert verb in seen
    await many_dead(url, 1)
    assert piped(*order) == (f"{verb}: 1 of 1\n", "")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 110, 140, 200])
def test_a_row_can_be_read_and_copied(width):
    """However narrow the terminal, an id is whole and no word is broken into letters."""
    row = (uuid.uuid4().hex, "dead", "billing", "evt_1", "2026-11-22 20:31:07Z", "3", "ValueError")
    program = (
        "import sys\n"
        "from webhook_dedup.cli.output import print_table\n"
        "sys.stdout.isatty = lambda: True\n"
        f"print_table({COLUMNS!r}, [{row!r}])\n"
    )
    env = {**os.environ, "COLUMNS": str(width), "TERM": "xterm"}
    answer = subprocess.check_output([sys.executable, "-c", program], env=env, text=True)
    assert {row[0], "ValueError"} <= set(answer.split())
    assert ("event id: evt_1" in answer) is (width < 110)


async def test_the_doctor_shows_that_it_is_at_work(tmp_path):
    """At a terminal something moves while the store is examined."""
    url = f"sqlite:///{tmp_path}/webhooks.db"
    await many_dead(url, 1)
    _, answer, seen = terminal("doctor", "--store", url)
    assert "dead letters" in answer
    assert "examining the store" in seen


def test_help_breaks_lines_where_the_terminal_ends():
    """Not where the source does: sentences are not cut into short lines in between."""
    command = [sys.executable, "-m", "webhook_dedup", "work", "--help"]
    env = {**os.environ, "COLUMNS": "80"}
    told = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert "any     \n number of workers on any machine may share" in told
