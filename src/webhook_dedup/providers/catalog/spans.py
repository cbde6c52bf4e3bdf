"""Units of the rows, and the day on which all of them were last compared with their sources."""

from __future__ import annotations

import datetime as dt

__all__ = ["CHECKED", "DAY", "HOUR", "MIB", "MINUTE"]

MINUTE = 60
HOUR = 3_600
DAY = 86_400
MIB = 1024 * 1024

CHECKED = dt.date(2026, 11, 22)
