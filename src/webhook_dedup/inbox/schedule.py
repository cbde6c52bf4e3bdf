"""What comes due when, kept in memory."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

__all__ = ["Schedule"]

_STALE_KEPT = 256


class Schedule:
    """Knows which id comes due first, on the monotonic clock."""

    def __init__(self) -> None:
        self._made = 0
        self._present: dict[str, int] = {}
        # (due, number, id) of every move. One whose number is not the present one is stale.
        self._moves: list[tuple[float, int, str]] = []

    def __len__(self) -> int:
        """Return how many moves are kept, stale ones included."""
        return len(self._moves)

    def move(self, item_id: str, due: float) -> None:
        """Let an id come due at a time, whenever it was to come due before."""
        self._made += 1
        self._present[item_id] = self._made
        heapq.heappush(self._moves, (due, self._made, item_id))
        if len(self._moves) > 2 * len(self._present) + _STALE_KEPT:
            self._moves = [move for move in self._moves if self._is_present(move)]
            heapq.heapify(self._moves)

    def drop(self, item_id: str) -> None:
        """Take an id off."""
        self._present.pop(item_id, None)

    def first(self) -> float | None:
        """Return when the first id comes due."""
        while self._moves and not self._is_present(self._moves[0]):
            heapq.heappop(self._moves)
        return self._moves[0][0] if self._moves else None

    def pop_due(self, now: float, limit: int, is_wanted: Callable[[str], bool]) -> Sequence[str]:
        """Take off up to ``limit`` wanted ids that are due; the caller moves each on."""
        due: list[str] = []
        passed: list[tuple[float, int, str]] = []
        while len(due) < limit and (first := self.first()) is not None and first <= now:
            move = heapq.heappop(self._moves)
            if is_wanted(move[2]):
                self.drop(move[2])
                due.append(move[2])
            else:
                passed.append(move)
        for move in passed:
            heapq.heappush(self._moves, move)
        return due

    def clear(self) -> None:
        """Take all off."""
        self._present.clear()
        self._moves.clear()

    def _is_present(self, move: tuple[float, int, str]) -> bool:
        return self._present.get(move[2]) == move[1]
