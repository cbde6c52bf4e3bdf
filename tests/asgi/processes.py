"""The served app in processes of real ASGI servers, on free loopback ports."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.ports import HOST, free_port, reserve_port
from tests.servers import wait_until

ROOT = Path(__file__).parents[2]
APP = "tests.asgi.served:app"

COMMANDS = {
    "uvicorn": [
        *("uvicorn", APP, "--host", HOST, "--port", "{port}", "--no-access-log"),
        *("--timeout-keep-alive", "60"),
    ],
    "hypercorn": ["hypercorn", APP, "--bind", f"{HOST}:{{port}}", "--graceful-timeout", "10"],
    "granian": ["granian", APP, "--interface", "asgi", "--host", HOST, "--port", "{port}"],
}


class Served:
    """One server process with the served app, up while it is entered.

    Args:
        kind: ``"uvicorn"``, ``"hypercorn"`` or ``"granian"``.
        directory: Where ledger and log are kept; servers that share it share the ledger.
        options: ``store``, ``ack``, ``lease``, ``handler_seconds``; ``late_seconds`` and
            ``late_failures`` of the background task after each response.
    """

    def __init__(self, kind: str, directory: Path, **options: Any) -> None:
        self.port = reserve_port()
        self.ledger_file = directory / "ledger"
        self.ledger_file.touch()
        self._log_file = directory / f"log-{self.port}"
        self._command = [part.format(port=self.port) for part in COMMANDS[kind]]
        chosen = {f"SERVED_{name.upper()}": str(value) for name, value in options.items()}
        self._environment = {**os.environ, **chosen, "SERVED_LEDGER": str(self.ledger_file)}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self):
        self.launch()
        wait_until(self._listens, what=f"{self._command[0]}\n{self.log}")
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # workers outlive a supervisor that is shot
        self.process.wait()
        free_port(self.port)

    def launch(self) -> None:
        with self._log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self._command],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def terminate(self) -> int:
        """Ask it to stop as a supervisor does, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    @property
    def log(self) -> str:
        return self._log_file.read_text(errors="replace") if self._log_file.exists() else ""

    @property
    def ledger(self) -> list[dict[str, Any]]:
        whole, _, _ = self.ledger_file.read_text().rpartition("\n")  # the last may be under way
        return [json.loads(line) for line in whole.splitlines()]

    def of(self, **wanted: Any) -> list[dict[str, Any]]:
        """The lines of the ledger that hold all of these."""
        return [line for line in self.ledger if wanted.items() <= line.items()]

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.log
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0
