"""Items that wait because this process runs another item of the same key."""

from __future__ import annotations

from collections.abc import Collection
from math import inf
from time import monotonic

from .model import Item

__all__ = ["Siblings"]

ENDINGS_KEPT = 1024


class Siblings:
    """Knows whom to wake when a key's run ends here, long before its lease would."""

    def __init__(self) -> None:
        # For each key that is being run, the waiting items by id.
        self._waiting: dict[str, dict[str, Item]] = {}
        # When the latest runs ended, for those who were refused before and come to wait after.
        self._ended: dict[str, float] = {}

    def began(self, key: str) -> None:
        """Note that a key is run in this process from now."""
        self._waiting.setdefault(key, {})

    def ended(self, key: str) -> Collection[Item]:
        """Note the end of a run, and return who waited for it."""
        self._ended.pop(key, None)
        self._ended[key] = monotonic()
        if len(self._ended) > ENDINGS_KEPT:
            del self._ended[next(iter(self._ended))]
        return self._waiting.pop(key, {}).values()

    def wait(self, key: str, item: Item, sent: float) -> bool:
        """Let an item wait for the holder of its key.

        Args:
            key: The key that another token holds.
            item: Whose bid was refused.
            sent: Monotonic time at which that bid was sent.

        Returns:
            False when that holder may have ended since, so that there is nothing to wait for.
        """
        if self._ended.get(key, -inf) > sent:
            return False
        if key in self._waiting:
            self._waiting[key][item.id] = item
        return True
