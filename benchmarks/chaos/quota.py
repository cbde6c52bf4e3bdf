"""A small disk of its own for a database, which can be filled up and emptied again."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

SIZE = 64 * 2**20
CHUNK = bytes(2**20)


class Quota:
    """A file system of a fixed size, mounted while it is entered. It needs root and ``mount``.

    Args:
        path: A directory for it.
        owner: User and group that may write there.

    Attributes:
        lacking: Why there is none, empty if there is one. The directory can be used all the same.
    """

    def __init__(self, path: Path, owner: tuple[int, int] | None = None) -> None:
        self.path = path
        self.lacking = ""
        self._owner = owner or (os.getuid(), os.getgid())
        self._filler = path / "filler"

    def __enter__(self):
        self.path.mkdir()
        user, group = self._owner
        options = f"size={SIZE},mode=700,uid={user},gid={group}"
        try:
            _run("mount", "-t", "tmpfs", "-o", options, "chaos", str(self.path))
        except OSError as error:
            self.lacking = f"no small disk can be mounted here: {error}"
        return self

    def __exit__(self, *_: object) -> None:
        if not self.lacking:
            _run("umount", "--lazy", str(self.path))

    def fill(self) -> None:
        """Take all the room that is left."""
        with suppress(OSError), self._filler.open("wb", buffering=0) as filler:  # until it is full
            while True:
                filler.write(CHUNK)

    def empty(self) -> None:
        self._filler.unlink(missing_ok=True)


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.stderr.strip().partition("\n")[0])
