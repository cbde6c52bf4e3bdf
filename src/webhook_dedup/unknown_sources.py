"""Items whose source this process does not know: they are left to those who do."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["UnknownSources"]

FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
KEPT = 10_000


class UnknownSources:
    """Knows for how long an item is left: twice as long each time it is met again.

    The app that it belongs to takes it when it comes due, as this one did. An item that this one
    took by chance must soon be free for that app, and one that nobody wants must not be taken all
    the time.
    """

    def __init__(self) -> None:
        self._waits: OrderedDict[str, float] = OrderedDict()  # by item, the last one met last
        self._told: set[str] = set()

    def wait(self, item_id: str) -> float:
        """Note that an item was met, and return for how many seconds it is left now."""
        wait = min(2 * self._waits.pop(item_id, FIRST_WAIT / 2), LONGEST_WAIT)
        self._waits[item_id] = wait
        if len(self._waits) > KEPT:
            self._waits.popitem(last=False)
        return wait

    def is_news(self, source: str) -> bool:
        """Note that a person is told of a source, and say whether that is the first time."""
        is_new = source not in self._told
        self._told.add(source)
        return is_new
