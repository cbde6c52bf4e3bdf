"""A terminal with a shell in it, typed into and read like a person does."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

__all__ = ["NotAsShown", "Terminal"]

_PROMPT = "<<status {}>>"
_PROMPTED = re.compile(_PROMPT.format(r"(\d+)"))
_NOISE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\r─│╭╮╰╯]")
_ROWS, _COLUMNS = 50, 200
# Opened by the first process of a session, the terminal is the session's own: Ctrl+C works in it.
_SHELL = ("sh", "-c", 'exec bash --norc --noprofile --noediting <"$0" >"$0" 2>&1')


class NotAsShown(Exception):
    """Something does not happen that the page shows."""


class Terminal:
    """Bash on a terminal of its own.

    Args:
        directory: Where it begins.
        environment: What it knows.
    """

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._fd, self._inner = pty.openpty()
        _set_up(self._inner)
        self._shell = subprocess.Popen(
            [*_SHELL, os.ttyname(self._inner)],
            cwd=directory,
            # Bash prints its status as a prompt, by which one sees that a command has ended.
            env={**environment, "PS1": _PROMPT.format("$?"), "PS2": "", "TERM": "dumb"},
            start_new_session=True,
            preexec_fn=_hear_hangups,  # noqa: PLW1509 - there are no threads here
        )
        self._raw = b""
        self._read_to = 0
        self._await(_PROMPTED, time.monotonic() + 10)

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self._fd, text.encode() + b"\n")

    def interrupt(self, limit: float) -> None:
        """Press Ctrl+C, and wait for the prompt."""
        os.write(self._fd, b"\x03")
        self._await(_PROMPTED, time.monotonic() + limit)

    def see(self, line: str, limit: float) -> None:
        """Wait for a line as the page shows it; ``…`` stands for anything, spaces for any space.

        Raises:
            NotAsShown: It does not come.
        """
        words = [r"\s+".join(map(re.escape, part.split())) for part in line.split("…")]
        self._await(re.compile(".*".join(words)), time.monotonic() + limit)

    def end(self, limit: float) -> int | None:
        """Wait for the prompt; return the status of the command, ``None`` if it goes on."""
        try:
            return int(self._await(_PROMPTED, time.monotonic() + limit)[1])
        except NotAsShown:
            return None

    def close(self) -> None:
        """Hang up, which ends what runs here."""
        os.close(self._inner)
        os.close(self._fd)
        self._shell.send_signal(signal.SIGHUP)
        self._shell.wait()

    def _await(self, pattern: re.Pattern[str], deadline: float) -> re.Match[str]:
        while True:
            shown = _NOISE.sub("", self._raw.decode("utf-8", "replace"))
            if found := pattern.search(shown, self._read_to):
                self._read_to = found.end()
                return found
            ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise NotAsShown(
                    f"waited for {pattern.pattern!r} and saw\n{shown[self._read_to :]}"
                )
            self._raw += os.read(self._fd, 65536)


def _hear_hangups() -> None:
    """Let what runs here end with its terminal, also where this program is run by ``nohup``."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _set_up(terminal: int) -> None:
    """Make a terminal wide, and let it not repeat what is typed."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
    quiet = termios.tcgetattr(terminal)
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, quiet)
