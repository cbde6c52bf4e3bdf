"""A clock that only tests move."""

from __future__ import annotations

__all__ = ["FakeClock"]


class FakeClock:
    """Stands still until :meth:`advance` is called.

    Args:
        now: Unix time to start at.
    """

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._elapsed = 0.0

    def time(self) -> float:
        """Unix time in seconds."""
        return self._now + self._elapsed

    def monotonic(self) -> float:
        """Seconds advanced so far."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self._elapsed += seconds
