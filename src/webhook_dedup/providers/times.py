"""Times as providers write them."""

from __future__ import annotations

import re
from datetime import datetime

__all__ = ["parse_time"]

_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,20})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_YEAR_5000 = 1e11


def parse_time(value: object) -> float | None:
    """Return a time as unix seconds, or ``None`` for whatever is no time after 1970.

    Args:
        value: Unix seconds or milliseconds as a number or as text, or RFC 3339 text. A number
            too large for seconds is taken for milliseconds.
    """
    if isinstance(value, str):
        return _from_text(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _from_number(value)
    return None


def _from_number(number: float) -> float | None:
    if 0 <= number < _YEAR_5000:
        return float(number)
    if _YEAR_5000 <= number < _YEAR_5000 * 1000:
        return number / 1000
    return None


def _from_text(text: str) -> float | None:
    if _NUMBER.fullmatch(text):
        return _from_number(float(text))
    parts = _RFC3339.fullmatch(text)
    if parts is None:
        return None
    date, time, fraction, zone = parts.groups()
    zone = "+00:00" if zone in "Zz" else zone
    try:
        whole = datetime.fromisoformat(f"{date}T{time}{zone}").timestamp()
    except ValueError:
        return None
    seconds = whole + float(fraction or 0)  # never milliseconds, however far ahead
    return seconds if seconds >= 0 else None
