"""Real servers for tests and demos, on free loopback ports, which a test may kill or freeze.

``python -m tests.servers redis -- command --store {url}`` runs a command beside a fresh server.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .binaries import Binary, ServerMissing, postgres_binary, redis_binaries, temporary_directory
from .ports import HOST, free_port, reserve_port

START_LIMIT = 30.0
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
"""Options of a Redis that has on disk what it has answered."""


class Server:
    """A server process. It keeps its port and its data over a stop or a kill.

    Entering starts it; leaving stops it and removes its data.
    """

    name = "server"
    _stop_signal = signal.SIGTERM
    _discard_signal = signal.SIGTERM

    def __init__(self, binary: Binary) -> None:
        self.binary = binary
        self.version = binary.version
        self.port = reserve_port()
        self.directory = temporary_directory(f"webhook-dedup-{self.name}-")
        self._log = self.directory / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        raise NotImplementedError

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end(self._discard_signal)
        shutil.rmtree(self.directory, ignore_errors=True)
        free_port(self.port)

    def start(self) -> None:
        """Start, or start again with the data that is there; return when it answers."""
        if self._process is not None:
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C must reach the tests, not their servers
                **self._identity(),
            )
        try:
            wait_until(self._answers, what=f"{self.name} {self.version} on port {self.port}")
        except ServerMissing as error:
            self.kill()
            raise ServerMissing(f"{error}\n{self._log.read_text(errors='replace')}") from None

    def stop(self) -> None:
        """Stop in good order."""
        self._end(self._stop_signal)

    def kill(self) -> None:
        """Kill it and all its children at once, as a power cut would."""
        if self._process is not None:
            family = self._family()
            for member in family:
                _signal(member, signal.SIGKILL)
            self._process.wait(START_LIMIT)
            psutil.wait_procs(family, START_LIMIT)
            self._process = None

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        for member in self._family():
            _signal(member, signal.SIGSTOP)

    def resume(self) -> None:
        for member in self._family():
            _signal(member, signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self.resume()
            self._process.send_signal(number)
            self._process.wait(START_LIMIT)
            self._process = None

    def _family(self) -> list[psutil.Process]:
        """The process, then its children (PostgreSQL's each lead a group of their own)."""
        if self._process is None or self._process.poll() is not None:
            return []
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _identity(self) -> dict[str, object]:
        """Arguments of ``Popen`` for the user it runs as."""
        return {}

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise ServerMissing(f"{self.name} ended at once with {self._process.returncode}")
        return self._is_ready()

    def _is_ready(self) -> bool:
        raise NotImplementedError


class RedisServer(Server):
    """A Redis of its own. Without ``binary`` the machine's is used, else the wheel's.

    Args:
        args: More options in the server's own words, ``"--appendonly", "yes"``.
        cluster_enabled: Start as a node of a cluster (see ``tests.redis_groups``).
    """

    name = "redis"

    def __init__(
        self,
        binary: Binary | None = None,
        *,
        args: Sequence[str] = (),
        cluster_enabled: bool = False,
    ) -> None:
        super().__init__(binary or redis_binaries()[-1])
        cluster = ("--cluster-enabled", "yes")
        self._args = [*args, *(cluster if cluster_enabled else ())]

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def client(self) -> redis.Redis:
        """A synchronous client for the test's own looks and pokes; close it after use."""
        return redis.Redis(host=HOST, port=self.port, socket_timeout=5, retry=Retry(NoBackoff(), 0))

    def _command(self) -> list[str]:
        return [
            str(self.binary.path),
            *("--port", str(self.port), "--bind", HOST, "--dir", str(self.directory)),
            *("--save", ""),
            *self._args,
        ]

    def _is_ready(self) -> bool:
        with self.client() as client:
            try:
                return client.ping()
            except redis.RedisError:
                return False


class PostgresServer(Server):
    """A PostgreSQL of its own, without passwords.

    Args:
        fsync: Off, commits may be lost in a power cut; on as users run it.
        args: More options in the server's own words, ``"-c", "max_connections=20"``.
    """

    name = "postgres"
    _stop_signal = signal.SIGINT  # fast: does not wait for clients to leave
    _discard_signal = signal.SIGQUIT  # immediate: writes nothing, but frees its shared memory

    def __init__(
        self, binary: Binary | None = None, *, fsync: bool = True, args: Sequence[str] = ()
    ) -> None:
        super().__init__(binary or postgres_binary())
        self._args = ["-c", f"fsync={'on' if fsync else 'off'}", *args]
        self._data = self.directory / "data"

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{HOST}:{self.port}/postgres"

    def start(self) -> None:
        if not self._data.exists():
            self._initialise()
        super().start()

    def _initialise(self) -> None:
        identity = self._identity()
        if identity:
            os.chown(self.directory, identity["user"], identity["group"])
        done = subprocess.run(
            [
                *(self.binary.path.with_name("initdb"), "--pgdata", self._data, "--no-sync"),
                *("--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"),
            ],
            check=False,
            cwd=self.directory,
            capture_output=True,
            text=True,
            **identity,
        )
        if done.returncode:
            raise ServerMissing(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _command(self) -> list[str]:
        return [
            str(self.binary.path),
            *("-D", str(self._data), "-h", HOST, "-p", str(self.port), "-k", ""),
            *self._args,
        ]

    def _identity(self) -> dict[str, object]:
        return unprivileged_user() if os.geteuid() == 0 else {}

    def _is_ready(self) -> bool:
        pid_file = self._data / "postmaster.pid"  # its eighth line tells the state
        lines = pid_file.read_text().splitlines() if pid_file.exists() else []
        return bool(lines) and lines[0] == str(self._process.pid) and lines[-1].strip() == "ready"


def unprivileged_user() -> dict[str, object]:
    """Arguments of ``Popen`` for a user that PostgreSQL agrees to run as."""
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise ServerMissing("PostgreSQL does not run as root, and there is no user postgres or nobody")


def wait_until(holds: Callable[[], bool], *, what: str, limit: float = START_LIMIT) -> None:
    """Ask until it holds; raise :class:`ServerMissing` after ``limit`` seconds."""
    deadline = time.monotonic() + limit
    while not holds():
        if time.monotonic() > deadline:
            raise ServerMissing(f"{what} did not come up within {limit:.0f} s")
        time.sleep(0.02)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def main(arguments: Sequence[str]) -> int:
    kinds = {"redis": RedisServer, "postgres": PostgresServer}
    if len(arguments) < 3 or arguments[0] not in kinds or arguments[1] != "--":
        print("usage: python -m tests.servers redis|postgres -- command [{url} ...]")  # noqa: T201 - its output
        return 2
    with kinds[arguments[0]]() as server:
        print(f"{server.name} {server.version} ({server.binary.origin})", flush=True)  # noqa: T201 - its output
        command = [part.replace("{url}", server.url) for part in arguments[2:]]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
