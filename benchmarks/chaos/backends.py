"""The stores under test, each with ways to take it out of service for a while."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

import asyncpg

from tests.servers import PostgresServer, RedisServer, Server, unprivileged_user

from .quota import Quota

DURABLE_REDIS = ("--appendonly", "yes", "--appendfsync", "always")
# Else a start after a crash syncs each file it finds, for seconds.
FAST_RECOVERY = ("-c", "recovery_init_sync_method=syncfs")
LOCK_PATIENCE = 20.0


class Backend(Protocol):
    """Where claims and deliveries live. The verbs block.

    Attributes:
        url: Its address.
        effects: The URL of a database for the handlers' own effects.
        networked: Whether it is reached over connections that can be cut.
        lacking: Why it cannot be filled up, empty if it can.
    """

    url: str
    effects: str
    networked: bool
    lacking: str

    def fail(self) -> None:
        """Take it out of service."""

    def heal(self) -> None:
        """Bring it back with its data; return when it answers."""

    def fill(self) -> None:
        """Leave it without room for anything new."""

    def empty(self) -> None:
        """Give it room again."""


class SqliteFile:
    """A file on a disk of its own, that this process locks exclusively."""

    networked = False

    def __init__(self, directory: Path, disk: Quota) -> None:
        path = disk.path / "webhooks.db"
        self.url = f"sqlite:///{path}"
        self.effects = _file_for_effects(directory)
        self.lacking = disk.lacking
        self.fill, self.empty = disk.fill, disk.empty
        self._connection = sqlite3.connect(
            path, timeout=LOCK_PATIENCE, isolation_level=None, check_same_thread=False
        )

    def fail(self) -> None:
        self._connection.execute("BEGIN EXCLUSIVE")

    def heal(self) -> None:
        self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()


class KilledServer:
    """A server that is killed, and started again on the same port with the data it had."""

    networked = True

    def __init__(self, server: Server) -> None:
        self._server = server
        self.url = server.url

    def fail(self) -> None:
        self._server.kill()

    def heal(self) -> None:
        self._server.start()


class KilledRedis(KilledServer):
    """Its room is what ``maxmemory`` leaves it: it evicts nothing and refuses what is new."""

    lacking = ""

    def __init__(self, directory: Path, server: RedisServer) -> None:
        super().__init__(server)
        self.effects = _file_for_effects(directory)

    def fill(self) -> None:
        self._allow(1)

    def empty(self) -> None:
        self._allow(0)

    def _allow(self, limit: int) -> None:
        with self._server.client() as client:
            client.config_set("maxmemory", limit)


class CrashingPostgres(PostgresServer):
    """Ends as in a crash and recovers from its log, but buries its children itself, at once."""

    def kill(self) -> None:
        self._end(signal.SIGQUIT)


class KilledPostgres(KilledServer):
    """Its tables are in a table space on a disk of its own; the log of its writes is not."""

    def __init__(self, server: PostgresServer, disk: Quota) -> None:
        super().__init__(server)
        self.effects = server.url
        self.lacking = disk.lacking
        self.fill, self.empty = disk.fill, disk.empty
        if not disk.lacking:
            asyncio.run(_move_tables(server.url, disk.path))


async def _move_tables(url: str, path: Path) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"CREATE TABLESPACE small LOCATION '{path}'")
        await connection.execute("ALTER DATABASE postgres SET default_tablespace = small")
    finally:
        await connection.close()


def _file_for_effects(directory: Path) -> str:
    return f"sqlite:///{directory / 'effects.db'}"


@contextmanager
def backend(name: str, directory: Path) -> Iterator[Backend]:
    """Provide ``sqlite``, ``redis`` or ``postgres`` for the length of the block."""
    if name == "sqlite":
        with Quota(directory / "disk") as disk, closing(SqliteFile(directory, disk)) as file:
            yield file
    elif name == "redis":
        with RedisServer(args=DURABLE_REDIS) as server:
            yield KilledRedis(directory, server)
    else:
        directory.chmod(0o711)  # the server runs as another user
        with (
            Quota(directory / "disk", _postgres_user()) as disk,
            CrashingPostgres(args=FAST_RECOVERY) as server,
        ):
            yield KilledPostgres(server, disk)


def _postgres_user() -> tuple[int, int]:
    user = unprivileged_user()
    return int(str(user["user"])), int(str(user["group"]))
