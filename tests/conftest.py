"""Fixtures that hand real servers to tests. A server that cannot be had fails the run."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import redis

from .binaries import Binary, ServerMissing, postgres_binary, redis_binaries
from .redis_groups import RedisCluster, RedisSentinel
from .servers import PostgresServer, RedisServer

GIVEN_REDIS = os.environ.get("WEBHOOK_DEDUP_TEST_REDIS_URL")
GIVEN_POSTGRES = os.environ.get("WEBHOOK_DEDUP_TEST_POSTGRES_URL")

# The longest first, or the last worker goes on alone with one of them.
BEGIN_WITH = (
    "asgi/test_race.py",
    "stores/test_redis_faults.py",
    "asgi/test_drain.py",
    "stores/test_redis.py",
    "stores/test_sql_processes.py",
    "inbox/test_sql_inbox.py",
    "stores/test_sql_contract.py",
    "recovery/test_killed_processes.py",
    "chaos/test_chaos_short.py",
    "cli/test_work_command.py",
    "inbox/test_redis_inbox_faults.py",
    "docs/test_email_agent.py",
    "inbox/test_redis_inbox.py",
    "idempotency/test_servers.py",
    "asgi/test_servers.py",
    "asgi/test_frozen.py",
    "once/test_worker.py",
    "asgi/test_store_away.py",
    "transaction/test_killed.py",
)

MAY_WRITE = "SET default_transaction_read_only = off"
DISCONNECT_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
DROP_EVERYTHING = """
    DO $$ DECLARE schema text; BEGIN
        FOR schema IN SELECT nspname FROM pg_namespace
            WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
        LOOP EXECUTE format('DROP SCHEMA %I CASCADE', schema); END LOOP;
        CREATE SCHEMA public;
        GRANT USAGE ON SCHEMA public TO PUBLIC;
        EXECUTE format('ALTER DATABASE %I RESET ALL', current_database());
    END $$
"""


@dataclass(frozen=True)
class RedisChoice:
    """A Redis the tests run on: one that is given by its URL, or one to be started."""

    binary: Binary | None = None
    url: str | None = None

    def __str__(self) -> str:
        return f"redis-{self.binary.series}" if self.binary else "redis-given"


def redis_choices() -> list[RedisChoice]:
    """Every Redis to test on; a given one takes the place of the machine's, not of 6.2."""
    binaries = redis_binaries()
    if GIVEN_REDIS is None:
        return [RedisChoice(binary) for binary in binaries]
    return [RedisChoice(binaries[0]), RedisChoice(url=GIVEN_REDIS)]


def pytest_configure() -> None:
    # In the background of a script Ctrl-C is ignored, and so would those be who are sent it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / name: place for place, name in enumerate(BEGIN_WITH)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_report_header() -> str:
    try:
        return "servers: " + ", ".join([*map(_redis_version, redis_choices()), _postgres_version()])
    except (ServerMissing, OSError, redis.RedisError, asyncpg.PostgresError) as error:
        pytest.exit(f"a server that the tests need cannot be had: {error}", returncode=4)


def _redis_version(choice: RedisChoice) -> str:
    if choice.binary:
        return f"redis {choice.binary.version} ({choice.binary.origin})"
    with redis.Redis.from_url(choice.url) as client:
        return f"redis {client.info('server')['redis_version']} (given)"


def _postgres_version() -> str:
    if GIVEN_POSTGRES:
        version = _in_thread(_query(GIVEN_POSTGRES, "SHOW server_version"))
        return f"postgres {version} (given)"
    binary = postgres_binary()
    return f"postgres {binary.version} ({binary.origin})"


@pytest.fixture(scope="session", params=redis_choices(), ids=str)
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A Redis shared by the session, one after the other of every series.

    Tests keep apart by prefixes of their own; none flushes it or changes its configuration.
    """
    choice: RedisChoice = request.param
    if choice.url:
        yield choice.url
        return
    with RedisServer(choice.binary) as server:
        yield server.url


@pytest.fixture(scope="session", params=redis_binaries(), ids=lambda b: f"redis-{b.series}")
def redis_binary(request: pytest.FixtureRequest) -> Binary:
    """Every Redis there is, for tests that start one with options of their own."""
    return request.param


@pytest.fixture
def redis_server(redis_binary: Binary) -> Iterator[RedisServer]:
    """A Redis of the test's own, which it may kill, freeze and reconfigure."""
    with RedisServer(redis_binary) as server:
        yield server


@pytest.fixture(scope="module")
def redis_cluster(redis_binary: Binary) -> Iterator[RedisCluster]:
    """A Redis Cluster of three masters, shared by the tests of a module."""
    with RedisCluster(redis_binary) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def redis_sentinel(redis_binary: Binary) -> Iterator[RedisSentinel]:
    """A Redis master under a sentinel, shared by the tests of a module."""
    with RedisSentinel(redis_binary) as group:
        yield group


@pytest.fixture(scope="session")
def postgres_database() -> Iterator[str]:
    """The URL of a database for this session; tests ask for ``postgres_url`` instead."""
    with ExitStack() as stack:
        server = GIVEN_POSTGRES or stack.enter_context(PostgresServer()).url
        name = f"test_{uuid.uuid4().hex}"
        _in_thread(_query(server, f"CREATE DATABASE {name}"))
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
        _in_thread(_query(server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def postgres_url(postgres_database: str) -> Iterator[str]:
    """An empty database: ``postgresql://user@host:port/name``.

    After the test all its schemas and settings are dropped and all connections to it ended.
    """
    yield postgres_database
    clean = (MAY_WRITE, DISCONNECT_OTHERS, DROP_EVERYTHING)
    _in_thread(_query(postgres_database, *clean))


@pytest.fixture
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL of the test's own, which it may kill, freeze and reconfigure."""
    with PostgresServer() as server:
        yield server


async def _query(url: str, *statements: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        answers = [await connection.fetchval(statement) for statement in statements]
    finally:
        await connection.close()
    return answers[-1]


def _in_thread(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine away from the event loop that pytest-asyncio has set in this thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
