"""The rows of one inbox: scripts run on batches of ids, rows read in bounded portions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from ...backends.redis.faults import WrongType
from ...backends.redis.script import Script
from ...backends.redis.wire import Wire
from ...errors import ConfigError, StoreError
from .rows import Argument, decoded, encoded
from .scripts import FOREIGN, ROWS

__all__ = ["ROOM", "Table", "base_of"]

ROOM = 32 * 1024 * 1024
"""Bytes of bodies that travel at once, unless a single one is longer."""
_CALLS_PER_SCRIPT = 128  # a script holds up the server: about 5 microseconds a call


def base_of(prefix: str) -> bytes:
    """Return what all keys of an inbox begin with: its prefix and one hash tag.

    Raises:
        ConfigError: The prefix would end the hash tag at once.
    """
    if "{}" in prefix:
        raise ConfigError(f"the prefix of a Redis inbox must not contain {{}}: {prefix!a}")
    return encoded(f"{prefix}{{{prefix}inbox}}:")


class Table:
    """Runs the scripts of one inbox."""

    def __init__(self, wire: Wire, base: bytes, where: str) -> None:
        self._wire = wire
        self._base = base
        self._where = where

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
                f"{self._where}: one of the keys {name}due, {name}received, {name}dead and "
                f"{name}letters:… holds something this library did not write; "
                "give the inbox a prefix of its own"
            ) from error

    async def run(self, script: Script, calls: Sequence[tuple[Argument, ...]]) -> list[bool]:
        """Run a verb for every call, whose first argument is an id; say which were obeyed.

        Raises:
            StoreError: A row's key holds foreign data; the others were dealt with.
        """
        answers: list[int] = []
        for part in _portions(calls):
            answers += await self.call(script, len(part[0]), *chain.from_iterable(part))
        for call, answer in zip(calls, answers, strict=True):
            if answer == FOREIGN:
                raise self.foreign(call[0])
        return [answer > 0 for answer in answers]

    async def rows(self, ids: Sequence[bytes]) -> list[list[Any]]:
        """Read rows; an id without one is left out.

        Raises:
            StoreError: A row's key holds foreign data.
        """
        rows: list[list[Any]] = []
        while ids:
            answers = await self.call(ROWS, ROOM, *ids[:_CALLS_PER_SCRIPT])
            for item_id, answer in zip(ids, answers, strict=False):
                if answer == FOREIGN:
                    raise self.foreign(item_id)
                if isinstance(answer, list):
                    rows.append(answer)
            ids = ids[len(answers) :]
        return rows

    def foreign(self, item_id: Argument) -> StoreError:
        """Say that a row's key holds something else."""
        row = decoded(item_id) if isinstance(item_id, bytes) else item_id
        name = f"{decoded(self._base)}item:{row}"
        return StoreError(
            f"{self._where}: the key {name!r} holds something this library did not write; "
            "give the inbox a prefix of its own"
        )


def _portions(calls: Sequence[tuple[Argument, ...]]) -> Iterator[list[tuple[Argument, ...]]]:
    part: list[tuple[Argument, ...]] = []
    size = 0
    for call in calls:
        weight = sum(len(each) for each in call if isinstance(each, bytes))
        if part and (len(part) == _CALLS_PER_SCRIPT or size + weight > ROOM):
            yield part
            part, size = [], 0
        part.append(call)
        size += weight
    if part:
        yield part
