"""The time of this process, for stores that live in it."""

from __future__ import annotations

from time import monotonic, time

__all__ = ["SystemClock"]


class SystemClock:
    """The machine's clocks."""

    time = staticmethod(time)
    monotonic = staticmethod(monotonic)
