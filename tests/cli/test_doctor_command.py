"""``doctor`` finds what could go wrong, in situations that were prepared for it."""

import asyncio
import json
import os
import pwd
import shutil
import sqlite3
import time
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import asyncpg
import pytest
import redis as redis_driver

from tests.cli.operating import FAILED, app_inbox, command, item
from tests.redis_support import still_loading
from tests.servers import DURABLE, RedisServer, wait_until
from tests.stores.sql_support import role, session
from webhook_dedup import open_store
from webhook_dedup.cli.checkup import finding, writing
from webhook_dedup.observe.history import History


@pytest.fixture
async def file_url(tmp_path):
    """A store in a file, used once by an app."""
    url = f"sqlite:///{tmp_path}/webhooks.db"
    await started(url)
    return url


async def started(url):
    """Let an app start with a store, an inbox and a history."""
    async with app_inbox(url) as inbox:
        await inbox.start()
    store = open_store(url)
    await store.start()
    history = History(store)
    await history.start()
    await history.aclose()
    await store.aclose()


async def doctor(url, *arguments):
    """The findings by what was examined, and the text for people."""
    done = await command("doctor", *arguments, "--json", url=url)
    words = await command("doctor", *arguments, url=url)
    assert done.exit_code == words.exit_code, (done.output, words.output)
    told = json.loads(done.stdout)
    check_words(words.stdout.splitlines(), told["findings"])
    return done.exit_code, {each["check"]: each for each in told["findings"]}


def check_words(lines, findings):
    """The first line answers; the worst comes next, each with what to do about it below."""
    wrong = [each for each in findings if each["level"] != "ok"]
    headline, *rest = lines
    assert (headline == "nothing needs attention") == (not wrong)
    levels = [line.split()[0] for line in rest if not line.startswith(" ")]
    assert levels == sorted(levels, key=["failure", "warning", "ok"].index)
    told = "\n".join(line.strip() for line in rest)
    for each in findings:
        assert f" {each['check']}: " in told
    for each in wrong:
        assert each["remedy"]
        assert each["remedy"] in told


def change(url, *statements):
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


async def test_nothing_wrong(url):
    """1: a store as an app has set it up; only a Redis that may lose data is warned of."""
    await started(url)
    code, found = await doctor(url, "--provider", "stripe")
    assert code == 0
    expected = {"store", "version", "clock", "ttl for stripe", "backlog"}
    assert expected <= set(found)
    settings = {"inbox settings"} if url.startswith("redis") else set()
    assert {check for check, each in found.items() if each["level"] != "ok"} == settings
    assert "cover the" in found["ttl for stripe"]["text"]
    code, _ = await doctor(url, "--strict")
    assert code == len(settings)


async def test_no_file(tmp_path):
    """2: the file is not there, and is not made by looking."""
    code, found = await doctor(f"sqlite:///{tmp_path}/none.db")
    assert (code, found["store"]["level"]) == (1, "failure")
    assert "there is no file" in found["store"]["text"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("away", ["redis://127.0.0.1:1", "postgresql://nobody@127.0.0.1:1/none"])
async def test_not_reached(away):
    """3: nothing listens there."""
    code, found = await doctor(away)
    assert (code, set(found)) == (1, {"store reached"})


async def test_tables_are_absent(tmp_path):
    """4: a database that no app has started with."""
    url = f"sqlite:///{tmp_path}/empty.db"
    sqlite3.connect(f"{tmp_path}/empty.db").close()
    (tmp_path / "empty.db").touch()
    code, found = await doctor(url)
    assert (code, found["store tables"]["level"]) == (1, "failure")
    assert "start the app once" in found["store tables"]["remedy"]
    assert found["inbox tables"]["level"] == "warning"


async def test_another_version(file_url):
    """5: tables of another release, those of the history included."""
    change(
        file_url,
        "UPDATE webhook_dedup_claims_version SET version = 99",
        "UPDATE webhook_dedup_history_version SET version = 98",
    )
    code, found = await doctor(file_url)
    assert code == 1
    assert "has version 99" in found["store tables"]["text"]
    assert "use the release that made it" in found["store tables"]["remedy"]
    assert "history has version 98" in found["tables"]["text"]


async def test_an_index_is_missing(file_url):
    """6: an index was dropped; the statement that makes it again is told, and works."""
    change(file_url, "DROP INDEX webhook_dedup_inbox_due")
    code, found = await doctor(file_url)
    assert (code, found["indexes"]["level"]) == (0, "warning")
    assert "webhook_dedup_inbox_due" in found["indexes"]["text"]
    change(file_url, found["indexes"]["remedy"].removeprefix("run: "))
    _, found = await doctor(file_url)
    assert "indexes" not in found


async def test_an_index_is_missing_in_postgres(postgres_url):
    """6, on Postgres."""
    await started(postgres_url)
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("DROP INDEX webhook_dedup_inbox_due")
    _, found = await doctor(postgres_url)
    await connection.execute(found["indexes"]["remedy"].removeprefix("run: "))
    await connection.close()
    _, found = await doctor(postgres_url)
    assert "indexes" not in found


@pytest.mark.parametrize(
    ("provider", "ttl", "level", "says"),
    [
        ("stripe", "1h", "failure", "a late retry runs twice"),
        ("stripe", "7d", "ok", "by hand Stripe sends an event again for 30 d"),
        ("stripe", "60d", "ok", "60 d cover the 3 d of retries"),
    ],
)
async def test_ttl_against_the_horizon(file_url, provider, ttl, level, says):
    """7: events are forgotten before their sender gives up."""
    code, found = await doctor(file_url, "--provider", provider, "--ttl", ttl)
    each = found[f"ttl for {provider}"]
    assert (code, each["level"]) == (int(level == "failure"), level)
    assert says in each["text"]


@pytest.mark.parametrize("url", ["bloom://?capacity=0", "bloom://?capacities=5", "bloom://x"])
async def test_in_process_store_that_no_app_could_open(url):
    """What lives in the app's process is built as the app would, and its mistakes are told."""
    done = await command("doctor", url=url)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "bloom://?capacity=1000000" in done.stderr or "from 1 to" in done.stderr


@pytest.mark.parametrize("scheme", ["memory", "bloom"])
async def test_many_workers_on_memory(scheme, monkeypatch):
    """8: each process of several has a memory of its own."""
    code, found = await doctor(f"{scheme}://")
    assert (code, found["workers"]["level"]) == (0, "ok")
    assert found["durability"]["level"] == "warning"
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    code, found = await doctor(f"{scheme}://")
    assert (code, found["workers"]["level"]) == (1, "failure")
    assert "4 processes serve the app" in found["workers"]["text"]


async def test_an_old_inbox(file_url):
    """9: deliveries wait longer than they should, and some were given up."""
    async with app_inbox(file_url) as inbox:
        dead = item("dead", received_at=time.time())
        await inbox.put([item("old"), dead], 60)
        assert await inbox.bury(dead, FAILED)
    code, found = await doctor(file_url)
    assert code == 0
    assert "the oldest of 1 delivery" in found["inbox age"]["text"]
    assert "since 2023" in found["inbox age"]["text"]
    assert "1 delivery given up" in found["dead letters"]["text"]
    _, found = await doctor(file_url, "--max-age", "9999d")
    assert "inbox age" not in found


async def test_redis_may_lose_data(redis_binary):
    """10: a Redis without persistence that evicts and is nearly full."""
    with RedisServer(redis_binary) as server:
        with redis_driver.Redis.from_url(server.url) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            client.config_set("maxmemory", int(client.info()["used_memory"] * 1.02))
        code, found = await asyncio.wait_for(doctor(server.url), 30)
    assert code == 0
    assert "evicts keys when it is full" in found["store settings"]["text"]
    assert "appendonly yes" in found["inbox settings"]["remedy"]
    assert "MiB are used" in found["memory"]["text"]


async def test_a_user_of_redis_with_too_few_rights(redis_server):
    """10: what a script may not do is named, and nobody is sent to look for the server."""
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-@sortedset")
    code, found = await doctor(redis_server.url.replace("redis://", "redis://app:pw@"))
    assert (code, found["inbox reached"]["level"]) == (1, "failure")
    assert "forbids this user a command or a key" in found["inbox reached"]["text"]
    assert "is the server" not in found["inbox reached"]["remedy"]


async def test_a_redis_that_still_loads_its_data():
    """22: what answers is not said to be down."""
    async with still_loading() as url:
        code, found = await doctor(url)
    assert (code, found["store reached"]["level"]) == (1, "failure")
    assert "is still loading its data" in found["store reached"]["text"]
    assert "ready" in found["store reached"]["remedy"]


async def test_a_right_that_is_missing_later(redis_server):
    """10: what fails after the start is told beside the rest."""
    url = redis_server.url
    async with app_inbox(url) as inbox:
        await inbox.put([item("one")], 60)
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-@hash")
    code, found = await doctor(url.replace("redis://", "redis://app:pw@"))
    assert (code, found["backlog"]["level"]) == (1, "failure")
    assert "forbids this user a command or a key" in found["backlog"]["text"]
    assert found["version"]["level"] == "ok"


@pytest.mark.parametrize(
    "right",
    ["eval", "set", "get", "del", "pttl", "pexpire", "@hash", "@sortedset", "@set", "unlink"],
)
async def test_each_right_of_redis_is_tried(redis_server, right):
    """10: also what only the first delivery would need, and nothing is written by it."""
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", f"-{right}")
        code, found = await doctor(redis_server.url.replace("redis://", "redis://app:pw@"))
        assert not list(client.scan_iter())
    told = found.get("store reached") or found["rights"]  # some are needed from the start
    assert (code, told["level"]) == (1, "failure")
    assert f"+{right}" in f"{told['text']} {told['remedy']}".split()


async def test_a_durable_redis(redis_binary):
    """11: a Redis that keeps what it acknowledges has nothing to be warned of."""
    with RedisServer(redis_binary, args=DURABLE) as server:
        code, found = await doctor(server.url, "--strict")
    assert code == 0, found


async def test_clocks_apart(file_url, monkeypatch):
    """12: this machine's clock is an hour off."""
    real = time.time
    monkeypatch.setattr(finding.time, "time", lambda: real() + 3600)
    code, found = await doctor(file_url)
    assert (code, found["clock"]["level"]) == (0, "warning")
    assert "NTP" in found["clock"]["remedy"]


async def test_postgres_that_may_lose_data(postgres_url):
    """13: a Postgres whose commits do not wait for the disk."""
    await started(postgres_url)
    connection = await asyncpg.connect(postgres_url)
    name = postgres_url.rpartition("/")[2]
    await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    await connection.close()
    _, found = await doctor(postgres_url)
    assert "synchronous_commit = on" in found["inbox settings"]["remedy"]


async def test_a_role_that_only_reads(postgres_url):
    """14: a right that is missing is named with the statement that grants it, which mends it."""
    await started(postgres_url)
    async with role(postgres_url, "LOGIN") as guest, session(postgres_url) as admin:
        name = urlsplit(guest).username
        await admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
        for table in ("claims", "history"):
            await admin.execute(f"GRANT INSERT, UPDATE, DELETE ON webhook_dedup_{table} TO {name}")
        code, found = await doctor(guest)
        rights = found["rights"]
        assert (code, rights["level"]) == (1, "failure")
        assert "no right to INSERT, UPDATE, DELETE on webhook_dedup_inbox" in rights["text"]
        await admin.execute(rights["remedy"].removeprefix("run: "))
        code, found = await doctor(guest)
        assert code == 0
        assert "rights" not in found
        await admin.execute(f"DROP OWNED BY {name}")


async def test_a_role_that_may_not_even_read(postgres_url):
    """14: nobody is sent to look for a server that answered."""
    await started(postgres_url)
    async with role(postgres_url, "LOGIN") as guest:
        code, found = await doctor(guest)
    assert (code, found["store reached"]["level"]) == (1, "failure")
    assert "permission denied" in found["store reached"]["text"]
    assert "is the server" not in found["store reached"]["remedy"]


async def test_a_database_that_only_reads(postgres_url):
    """15: a setting forbids every write."""
    await started(postgres_url)
    async with session(postgres_url) as admin:
        name = postgres_url.rpartition("/")[2]
        await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    code, found = await doctor(postgres_url)
    assert (code, found["writes"]["level"]) == (1, "failure")
    assert "default_transaction_read_only is on" in found["writes"]["text"]


async def test_a_replica_of_postgres(postgres_server):
    """16: a server in recovery answers what is asked and takes nothing."""
    await started(postgres_server.url)
    postgres_server.stop()
    (postgres_server._data / "standby.signal").touch()
    postgres_server.start()
    code, found = await doctor(postgres_server.url)
    assert (code, found["writes"]["level"]) == (1, "failure")
    assert "the primary's address" in found["writes"]["remedy"]


async def test_a_full_redis(redis_server):
    """17: a Redis beyond its limit that evicts nothing refuses every event."""
    with redis_server.client() as client:
        client.config_set("maxmemory", client.info()["used_memory"] // 2)
    code, found = await doctor(redis_server.url)
    assert (code, found["memory"]["level"]) == (1, "failure")
    assert "nothing is evicted" in found["memory"]["text"]


async def test_a_replica_of_redis(redis_server):
    """18: a replica answers what is asked and takes nothing."""
    with RedisServer(redis_server.binary) as replica:
        with replica.client() as client:
            client.replicaof("127.0.0.1", redis_server.port)
            wait_until(lambda: client.info()["master_link_status"] == "up", what="a replica")
        code, found = await doctor(replica.url)
    assert (code, found["writes"]["level"]) == (1, "failure")


async def test_a_file_that_may_not_be_written():
    """19: the file, or the folder of its log, belongs to another user."""
    with TemporaryDirectory() as place:
        file = f"{place}/webhooks.db"
        url = f"sqlite:///{file}"
        await started(url)
        permit(0o777, place)
        for mode, wrong in ((0o666, None), (0o444, "file")):
            permit(mode, file)
            with anybody():
                code, found = await doctor(url)
            assert code == (1 if wrong else 0), found
            assert {"file", "folder"} & set(found) == ({wrong} if wrong else set())
        with closing(sqlite3.connect(file)) as app:  # which keeps the log and its index there
            app.execute("SELECT * FROM webhook_dedup_claims")
            permit(0o666, file, f"{file}-wal", f"{file}-shm")
            permit(0o555, place)
            with anybody():
                code, found = await doctor(url)
        assert (code, found["folder"]["level"]) == (1, "failure")
        assert "file" not in found


@pytest.mark.parametrize(
    ("free", "level"), [(2**20, "failure"), (200 * 2**20, "warning"), (2**40, None)]
)
async def test_a_full_disk(file_url, monkeypatch, free, level):
    """20: a disk without room for the log takes no deliveries; one that fills up is warned of."""
    full = shutil._ntuple_diskusage(2**40, 2**40 - free, free)
    monkeypatch.setattr(writing.shutil, "disk_usage", lambda _: full)
    code, found = await doctor(file_url)
    assert code == int(level == "failure")
    assert found.get("disk", {}).get("level") == level


async def test_a_file_that_another_program_keeps_locked(tmp_path):
    """21: nobody is sent to look for a server that SQLite does not have."""
    file = f"{tmp_path}/webhooks.db"
    await started(f"sqlite:///{file}")
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        code, found = await doctor(f"sqlite:///{file}?timeout=0.1")
    assert (code, found["store reached"]["level"]) == (1, "failure")
    assert found["store reached"]["remedy"] == "another process keeps it locked"


def permit(mode, *paths):
    for path in paths:
        Path(path).chmod(mode)


@contextmanager
def anybody():
    """Be a user without rights of his own: root may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("arguments", [(), ("--provider", "nobody")])
async def test_misused(arguments, file_url):
    """No store, or a provider that does not exist, is a mistake."""
    done = await command("doctor", *arguments, url=file_url if arguments else None)
    assert done.exit_code == 2
    assert done.stderr
