"""Times as people read and write them."""

from __future__ import annotations

import re
from datetime import datetime, timezone

__all__ = ["age_of", "instant"]

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_AGE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)([smhd]?)")


def instant(seconds: float) -> str:
    """Return a Unix time as people read it, in UTC."""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def age_of(text: str) -> float:
    """Return the seconds that ``90``, ``10m``, ``2h`` or ``3d`` stand for.

    Raises:
        ValueError: It is no such text.
    """
    match = _AGE.fullmatch(text)
    if match is None:
        raise ValueError("write seconds, or 10m, 2h, 3d")
    return float(match[1]) * _UNITS[match[2]]
