"""What a store in this process knows exactly about its keys."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice

from .entry import Entry

__all__ = ["ExactKeys"]

_SWEEP_PER_CALL = 64


class ExactKeys:
    """All held keys and the last few done ones.

    Args:
        recent: How many done keys are kept; an older one is no longer known here.
    """

    def __init__(self, recent: int) -> None:
        self._recent = recent
        # In a plain dict the eldest gets slow to find where many before it were removed.
        self._held: OrderedDict[str, Entry] = OrderedDict()  # by their last claim or renewal
        self._done: OrderedDict[str, Entry] = OrderedDict()

    def __len__(self) -> int:
        """Return how many keys are kept, expired ones not yet swept included."""
        return len(self._held) + len(self._done)

    def get(self, key: str, now: float) -> Entry | None:
        """Return the live entry of a key."""
        entry = self._held.get(key) or self._done.get(key)
        return entry if entry is not None and entry.expires_at > now else None

    def put(self, key: str, entry: Entry) -> None:
        """Write an entry in the place of whatever is known of the key."""
        self._held.pop(key, None)
        self._done.pop(key, None)
        if not entry.done:
            self._held[key] = entry
            return
        self._done[key] = entry
        if len(self._done) > self._recent:
            self._done.popitem(last=False)

    def extend(self, key: str, token: str, until: float) -> None:
        """Let a key this token holds live until then."""
        entry = self._held.get(key)
        if entry is not None and entry.token == token:
            entry.expires_at = until
            self._held.move_to_end(key)

    def drop(self, key: str, token: str) -> None:
        """Forget a key this token holds; another's stays."""
        entry = self._held.get(key)
        if entry is not None and entry.token == token:
            del self._held[key]

    def forget(self, key: str, now: float) -> bool:
        """Forget a key. True if it was held or done."""
        known = self.get(key, now) is not None
        self._held.pop(key, None)
        self._done.pop(key, None)
        return known

    def sweep(self, now: float, arriving: int) -> None:
        """Drop holders that went silent, a bounded share a call, two for each new key.

        The eldest stand in front. One with a longer lease hides those behind it until it ends.
        """
        gone = []
        for key, entry in islice(self._held.items(), max(_SWEEP_PER_CALL, 2 * arriving)):
            if entry.expires_at > now:
                break
            gone.append(key)
        for key in gone:
            del self._held[key]

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
        self._done.clear()
