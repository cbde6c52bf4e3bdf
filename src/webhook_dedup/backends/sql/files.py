"""A file of SQLite is used for as long as it stays in its place.

SQLite itself goes on writing to a file that was removed or replaced. What it takes is gone with the
process, and other processes claim in another file. Nor may the other file be opened while the log
of the old one lies beside it: it would be read as its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from ...errors import StoreUnavailable

__all__ = ["keep_to_file"]


def keep_to_file(engine: Engine) -> None:
    """Have an engine refuse another file than its first, until it is disposed of.

    What then asks for a connection gets ``StoreUnavailable``.
    """
    place = _Place()
    event.listen(engine, "do_connect", place.check)
    event.listen(engine, "connect", place.learn)
    event.listen(engine, "checkout", place.check)
    event.listen(engine, "engine_disposed", place.forget)


class _Place:
    def __init__(self) -> None:
        self._path: Path | None = None
        self._file: tuple[int, int] | None = None

    def learn(self, connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA database_list")
        (_, _, path), *_ = cursor.fetchall()
        cursor.close()
        self._path = Path(path)
        self._file = _file_at(self._path)

    def check(self, *_: object) -> None:
        if self._path is not None and _file_at(self._path) != self._file:
            raise StoreUnavailable(
                f"sqlite: {self._path} was removed or replaced beneath this process: restart it, "
                "without a -wal and -shm beside the file if it is another one"
            )

    def forget(self, _: object) -> None:
        self._path = None


def _file_at(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
