"""``python -m tests.newcomer`` follows docs/tutorial.md and prints the time of each step.

It types the commands that the page shows into the terminals that the page names, saves the files,
and compares what is seen. Two things differ: this checkout is installed in place of the published
package, and another port is taken where the page's is in use. Exit code 1: something is not as the
page says, or it takes longer than five minutes.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from pathlib import Path

from .page import INTERRUPT, Command, File, Session, Step, parts_of
from .terminal import NotAsShown, Terminal

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
PORT = 8000
LONGEST = 300.0
PATIENCE = 30.0
INSTALLING = 240.0
A_MOMENT = 3.0


class Newcomer:
    """Goes through a page, step by step.

    Args:
        directory: An empty one.
        port: In place of the page's.
    """

    def __init__(self, directory: Path, port: int) -> None:
        self._directory = directory
        self._port = str(port)
        inherited = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE")
        names = [name for name in os.environ if name in inherited or name.startswith("PIP_")]
        self._environment = {name: os.environ[name] for name in names}
        self._environment["UVICORN_PORT"] = self._port
        self._terminals: dict[str, Terminal] = {}

    def do(self, step: Step) -> None:
        """Do what a step says.

        Raises:
            NotAsShown: Something else happens.
        """
        if isinstance(step, File):
            (self._directory / step.name).write_text(step.content)
        elif isinstance(step, Session):
            self._follow(step)

    def close(self) -> None:
        """Close all terminals."""
        for terminal in self._terminals.values():
            terminal.close()

    def _follow(self, session: Session) -> None:
        if session.terminal not in self._terminals:
            self._terminals[session.terminal] = Terminal(self._directory, self._environment)
        terminal = self._terminals[session.terminal]
        for command in session.commands:
            self._do(terminal, command)

    def _do(self, terminal: Terminal, command: Command) -> None:
        if command.text == INTERRUPT:
            terminal.interrupt(PATIENCE)
        elif command.text:
            terminal.type(self._adapted(command.text))
        for line in command.expected:
            terminal.see(self._adapted(line), PATIENCE)
        if command.text and command.text != INTERRUPT:
            # What has shown its lines may go on, as a server does.
            status = terminal.end(A_MOMENT if command.expected else INSTALLING)
            if status or (status is None and not command.expected):
                raise NotAsShown(f"{command.text!r} ended with status {status}")

    def _adapted(self, text: str) -> str:
        return text.replace("webhook_dedup[", f"{ROOT}[").replace(str(PORT), self._port)


def _free_port() -> int:
    """Return the page's port, or a free one where it is in use."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _follow(newcomer: Newcomer, page: str) -> None:
    """Go through a page and print the time of each part of it."""
    parts = parts_of(page)
    if not parts:
        raise NotAsShown("the page has no steps")
    for part in parts:
        began = time.monotonic()
        for step in part.steps:
            newcomer.do(step)
        print(f"{time.monotonic() - began:7.1f} s  {part.heading}", flush=True)


def main() -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="newcomer-") as directory:
        newcomer = Newcomer(Path(directory), _free_port())
        try:
            _follow(newcomer, TUTORIAL.read_text("utf-8"))
        except NotAsShown as error:
            print(f"not as {TUTORIAL.name} says: {error}", file=sys.stderr)
            return 1
        finally:
            newcomer.close()
    total = time.monotonic() - began
    print(f"{total:7.1f} s  in all, of {LONGEST:g} s")
    return 1 if total > LONGEST else 0


if __name__ == "__main__":
    sys.exit(main())
