"""The stores under test, each with a way to take it out of service for a while."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from tests.servers import PostgresServer, RedisServer, Server

DURABLE_REDIS = ("--appendonly", "yes", "--appendfsync", "always")
LOCK_PATIENCE = 20.0


class Backend(Protocol):
    """Where claims and deliveries live. The two verbs block."""

    url: str

    def fail(self) -> None:
        """Take it out of service."""

    def heal(self) -> None:
        """Bring it back with its data; return when it answers."""


class SqliteFile:
    """A file that this process locks exclusively."""

    def __init__(self, directory: Path) -> None:
        path = directory / "webhooks.db"
        self.url = f"sqlite:///{path}"
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

    def __init__(self, server: Server) -> None:
        self._server = server
        self.url = server.url

    def fail(self) -> None:
        self._server.kill()

    def heal(self) -> None:
        self._server.start()


@contextmanager
def backend(name: str, directory: Path) -> Iterator[Backend]:
    """Provide ``sqlite``, ``redis`` or ``postgres`` for the length of the block."""
    if name == "sqlite":
        with closing(SqliteFile(directory)) as file:
            yield file
    else:
        server = RedisServer(args=DURABLE_REDIS) if name == "redis" else PostgresServer()
        with server:
            yield KilledServer(server)
