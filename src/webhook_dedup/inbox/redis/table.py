"""The rows of one inbox: scripts run on batches of ids, rows read in bounded portions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ...backends.redis.faults import WrongType
from ...backends.redis.script import Script
from ...backends.redis.wire import Wire
from ...errors import ConfigError, StoreError
from .rows import Argument, decoded, encoded
from .scripts import FOREIGN, ROWS, YES

__all__ = ["ROOM", "Table", "base_of"]

ROOM = 4 * 1024 * 1024
"""Bytes of bodies that travel at once, unless a single one is longer.

A slow line brings them before a time-out of some seconds, or a backlog would never be read.
"""
_CALLS_PER_SCRIPT = 128  # a script holds up the server: about 5 microseconds a call


def base_of(prefix: str) -> bytes:
    """Return what all keys of an inbox begin with: its prefix and one hash tag.

    Raises:
        ConfigError: The prefix would end the hash tag at once.
    """
    base = f"{prefix}{{{prefix}inbox}}:"
    if "{}" in base:
        raise ConfigError(
            f"the prefix of a Redis inbox must neither contain {{}} nor begin with }}: {prefix!a}"
        )
    return encoded(base)


class Table:
    """Runs the scripts of one inbox."""

    def __init__(self, wire: Wire, base: bytes) -> None:
        self._wire = wire
        self._base = base

    async def call(self, script: Script, *arguments: Argument) -> Any:
        """Run a script once.

        Raises:
            StoreError: Foreign data stand where the inbox keeps its order.
        """
        try:
            return await self._wire.call(script, self._base, *arguments)
        except WrongType as error:
            name = decoded(self._base)
            raise StoreError(
                f"{self._wire.where}: one of the keys {name}due, {name}received, {name}dead and "
                f"{name}letters:… holds something this library did not write; "
                "give the inbox a prefix of its own"
            ) from error

    async def run(self, script: Script, calls: Iterable[Sequence[bytes]]) -> list[bool]:
        """Run a verb for every call, whose first argument is an id; say which were obeyed.

        Raises:
            StoreError: A row's key holds foreign data; the others were dealt with.
        """
        # One list, since a sequence for each call would be alive while the server is waited for.
        ids: list[bytes] = []
        words: list[bytes] = []
        for call in calls:
            ids.append(call[0])
            words += call
        if not ids:
            return []
        width = len(words) // len(ids)
        answers = b""
        for part in _portions(words, width):
            answers += await self.call(script, width, *part)
        if FOREIGN in answers:
            raise self.foreign(ids[answers.index(FOREIGN)])
        return [answer == YES for answer in answers]

    async def rows(self, ids: Sequence[bytes]) -> list[list[Any]]:
        """Read rows; an id without one is left out.

        Raises:
            StoreError: A row's key holds foreign data.
        """
        rows: list[list[Any]] = []
        while ids:
            answers = await self.call(ROWS, ROOM, *ids[:_CALLS_PER_SCRIPT])
            for item_id, answer in zip(ids, answers, strict=False):
                if isinstance(answer, list):
                    rows.append(answer)
                elif FOREIGN in answer:
                    raise self.foreign(item_id)
            ids = ids[len(answers) :]
        return rows

    def foreign(self, item_id: Argument) -> StoreError:
        """Say that a row's key holds something else."""
        row = decoded(item_id) if isinstance(item_id, bytes) else item_id
        name = f"{decoded(self._base)}item:{row}"
        return StoreError(
            f"{self._wire.where}: the key {name!r} holds something this library did not write; "
            "give the inbox a prefix of its own"
        )


def _portions(words: Sequence[bytes], width: int) -> Iterator[Sequence[bytes]]:
    most = _CALLS_PER_SCRIPT * width
    if len(words) <= most and sum(map(len, words)) <= ROOM:  # as nearly always
        yield words
        return
    begin = size = 0
    for start in range(0, len(words), width):
        weight = sum(map(len, words[start : start + width]))
        if start > begin and (start - begin == most or size + weight > ROOM):
            yield words[begin:start]
            begin, size = start, 0
        size += weight
    yield words[begin:]
