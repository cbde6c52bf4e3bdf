"""Every fenced block of the docs and the README runs, or is at least what it claims to be."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections import Counter

import pytest
import redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.conftest import redis_choices
from tests.servers import RedisServer
from webhook_dedup import Event
from webhook_dedup.inbox import inbox_beside
from webhook_dedup.observe.history import History
from webhook_dedup.stores import open_store

from .pages import BLOCKS, PAGES, extract, named
from .shell import check, commands_of

LANGUAGES = {"conf", "console", "ini", "json", "python", "sql"}
# Programs that have tests of their own, which run them on real servers.
PROGRAMS = {
    "agent.py": "test_email_agent.py",
    "app.py": "test_tutorial.py",
    "inboxes.py": "test_recipes.py",
    "mailboxes.py": "test_recipes.py",
    "my_store.py": "test_my_store.py on its page",
    "naive.py": "test_naive.py on its page",
    "payments.py": "test_recipes.py",
    "tasks.py": "test_recipes.py",
}
NAIVE = "test_naive.py"


def test_all_blocks_are_checked():
    """No block is in a language that nothing here checks, and each program is run somewhere."""
    assert not [str(block) for block in BLOCKS if block.language not in LANGUAGES]
    titles = {block.title for block in named("python", titled=True)}
    assert {title for title in titles if not title.startswith("test_")} == PROGRAMS.keys()
    counts = Counter(block.language for block in BLOCKS)
    assert counts["python"] > 30
    assert counts["console"] > 15


@pytest.mark.parametrize("block", named("python", titled=False), ids=str)
def test_python_runs(block, tmp_path, monkeypatch):
    """Each block without a title runs as it stands, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    exec(compile(block.content, str(block), "exec"), {})


def test_events_have_what_pages_say():
    """What a comment beside ``event_of`` lists are attributes of an event."""
    lists = re.compile(r"= event_of\(request\)  # (.+?),? and the delivery")
    said = [told for block in BLOCKS for told in lists.findall(block.content)]
    assert len(said) > 1
    assert {name for told in said for name in told.split(", ")} <= set(Event.__struct_fields__)


@pytest.mark.parametrize("block", named("console"), ids=str)
def test_commands_exist(block):
    """Each command of the docs exists and takes the options it is shown with."""
    commands = list(commands_of(block.content))
    assert commands or block.title, "a console without a command"
    for words in commands:
        check(words) if words else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_exist(page):
    """A command within a sentence or a table is one, too, though it may leave out arguments."""
    for command in re.findall(r"`(webhook-dedup [a-z][^`…|]*)`", page.read_text()):
        check(shlex.split(command), whole=False)


@pytest.mark.parametrize("block", named("json"), ids=str)
def test_json_parses(block):
    """What is shown as JSON is JSON."""
    for line in block.content.splitlines():
        json.loads(line)


@pytest.mark.parametrize("block", named("conf"), ids=str)
def test_redis_takes_settings(block):
    """A real Redis takes each setting that is shown."""
    with (
        RedisServer(redis_choices()[0].binary) as server,
        redis.Redis.from_url(server.url) as client,
    ):
        for line in block.content.splitlines():
            name, value = line.split()
            client.config_set(name, value)
        server.kill()  # it would not end in good order while it writes its first append-only file


@pytest.fixture
async def tables(postgres_url):
    """A database with all tables of this library."""
    store = open_store(postgres_url)
    inbox, history = inbox_beside(store), History(postgres_url)
    for room in (store, inbox, history):
        await room.start()
    for room in (history, inbox, store):
        await room.aclose()
    return postgres_url


@pytest.mark.parametrize("block", named("sql"), ids=str)
async def test_sql_runs(block, tables):
    """PostgreSQL takes each statement that is shown."""
    engine = create_async_engine(tables.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.begin() as connection:
        for statement in filter(str.strip, block.content.split(";")):
            await connection.execute(text(statement))
    await engine.dispose()


TESTS = [block for block in named("python", titled=True) if block.title.startswith("test_")]


@pytest.mark.parametrize("block", TESTS, ids=lambda block: block.title)
def test_example_tests(block, tmp_path):
    """The tests of the docs pass in a fresh project, but for the one of a handler that is wrong."""
    extract(block.page.removeprefix("docs/"), tmp_path)
    (settings,) = named("ini")
    (tmp_path / "pytest.ini").write_text(settings.content)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", block.title],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (1 if block.title == NAIVE else 0), done.stdout + done.stderr
    if block.title == NAIVE:
        assert "ran 5 times" in done.stdout
