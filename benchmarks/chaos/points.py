"""The named points at which a worker dies by its own hand."""

from __future__ import annotations

import os
import random
import signal
from dataclasses import dataclass
from pathlib import Path

from .ledger import Ledger

BEFORE_PUT = "before put"
AFTER_PUT = "after put, before the 200"
BEFORE_HANDLER = "after the 200, before the handler"
IN_HANDLER = "inside the handler"
IN_TRANSACTION = "after the effect, before its commit"
BEFORE_COMPLETE = "after the effect, before complete"
BEFORE_DONE = "after complete, before the item is removed"

POINTS = (BEFORE_PUT, AFTER_PUT, BEFORE_HANDLER, IN_HANDLER, BEFORE_COMPLETE, BEFORE_DONE)

FEWEST, MOST = 3, 25


@dataclass(frozen=True)
class Doom:
    """A worker dies when it reaches ``point`` for the ``passing``-th time; ``""`` is nowhere."""

    point: str = ""
    passing: int = 0

    @classmethod
    def draw(cls, chance: random.Random, effect: str) -> Doom:
        """Choose one. Some workers are spared, so that freezes and outages find old ones too."""
        more = (IN_TRANSACTION,) if effect == "transaction" else ()
        return cls(chance.choice((*POINTS, *more, "")), chance.randint(FEWEST, MOST))


class Fate:
    """Counts the passings of a worker's point and kills it there, unless it is calm by then."""

    def __init__(self, doom: Doom, ledger: Ledger, calm: Path) -> None:
        self._doom = doom
        self._ledger = ledger
        self._calm = calm
        self._left = doom.passing

    def reach(self, point: str, event: str) -> None:
        if not point or point != self._doom.point:
            return
        self._left -= 1
        if self._left <= 0 and not self._calm.exists():
            self._ledger.write("kill", point=point, id=event)
            os.kill(os.getpid(), signal.SIGKILL)
