"""A file outside the system under test, to which all processes append whole lines."""

from __future__ import annotations

import json
import os
from pathlib import Path
from time import monotonic
from typing import Any


class Ledger:
    """Appends lines, each with one write, so that a killed process leaves no half of one.

    Times are of the monotonic clock, which all processes of a machine share.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, what: str, *, pid: int | None = None, **more: Any) -> None:
        line = {"what": what, "at": monotonic(), "pid": pid or os.getpid(), **more}
        os.write(self._file, json.dumps(line).encode() + b"\n")

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def close(self) -> None:
        os.close(self._file)
