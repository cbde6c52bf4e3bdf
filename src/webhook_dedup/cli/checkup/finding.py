"""What an examination found."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass

__all__ = ["Finding", "Level", "clock", "counted"]

_CLOCKS_APART = 5.0


class Level(enum.IntEnum):
    """How bad it is."""

    OK = 0
    WARNING = 1
    FAILURE = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was examined.

    Attributes:
        level: How bad it is.
        check: What was examined, in a word or two.
        text: What was found.
        remedy: What to do about it.
    """

    level: Level
    check: str
    text: str
    remedy: str = ""


def counted(number: int, what: str, plural: str = "") -> str:
    """Return a number of things in words: one delivery, two deliveries."""
    return f"{number} {what if number == 1 else plural or f'{what}s'}"


def clock(server: float, sent: float) -> Finding:
    """Compare the clocks of this machine and of a server that was asked at a local time.

    Leases and TTLs are by the server's clock alone; ages, retention and logs suffer.
    """
    received = time.time()
    apart = max(sent - server, server - received, 0.0)
    if apart > _CLOCKS_APART:
        return Finding(
            Level.WARNING,
            "clock",
            f"this machine and the store differ by {apart:.0f} s: signatures may be refused as too "
            "old, and ages are told wrong",
            "let both keep time by NTP",
        )
    return Finding(Level.OK, "clock", f"in step with the store to {received - sent + apart:.2f} s")
