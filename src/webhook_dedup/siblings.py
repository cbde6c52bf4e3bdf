"""Items that wait because this process runs another item of the same key."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from math import inf
from time import monotonic

from .model import Item

__all__ = ["Siblings"]

ENDINGS_KEPT = 1024


class Siblings:
    """Knows whom to wake when a key's run ends here, long before its lease would."""

    def __init__(self) -> None:
        # For each key that is being run, the waiting items by id, if there are any.
        self._waiting: dict[str, dict[str, Item] | None] = {}
        # When the latest runs ended, for those who were refused before and come to wait after.
        # An ordered dictionary, since the first key of a plain one from whose front many were
        # deleted is found behind all the gaps they left.
        self._ended: OrderedDict[str, float] = OrderedDict()

    def began(self, key: str) -> None:
        """Note that a key is run in this process from now."""
        self._waiting.setdefault(key)

    def ended(self, key: str) -> Collection[Item]:
        """Note the end of a run, and return who waited for it."""
        self._ended[key] = monotonic()
        self._ended.move_to_end(key)
        if len(self._ended) > ENDINGS_KEPT:
            self._ended.popitem(last=False)
        waiting = self._waiting.pop(key, None)
        return waiting.values() if waiting else ()

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
            waiting = self._waiting[key]
            if waiting is None:
                waiting = self._waiting[key] = {}
            waiting[item.id] = item
        return True
