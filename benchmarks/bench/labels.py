"""Where names go beside the ends of lines."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["GAP", "spread"]

GAP = 0.055  # of the plot's height, between two names


def spread(heights: Sequence[float]) -> list[float]:
    """Push rising heights apart by the gap, and back below the top where they stick out."""
    return _apart(_apart(heights, -1.0)[::-1], 1.0, down=True)[::-1]


def _apart(heights: Sequence[float], limit: float, *, down: bool = False) -> list[float]:
    moved: list[float] = []
    for height in heights:
        bound = limit if not moved else moved[-1] + (-GAP if down else GAP)
        moved.append(min(height, bound) if down else max(height, bound))
    return moved
