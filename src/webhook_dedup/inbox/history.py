"""The history of an item as text: one line of JSON for each failed attempt."""

from __future__ import annotations

import json
import os
import socket
import time

from ..model import Attempt

__all__ = ["entry", "history_of", "note"]

_UNREADABLE = Attempt(0.0, "", 0.0, "this entry of the history is unreadable")


def entry(attempt: Attempt) -> str:
    """Write an attempt as a line of ASCII, its end included."""
    values = [attempt.at, attempt.where, attempt.duration, attempt.error]
    return json.dumps(values, separators=(",", ":")) + "\n"


def history_of(text: str) -> tuple[Attempt, ...]:
    """Read lines that :func:`entry` wrote.

    One that is corrupt does not keep its delivery from running.
    """
    return tuple(map(_attempt, text.splitlines()))


def note(reason: str) -> Attempt:
    """Return what happened to an item without a run, as an attempt."""
    where = f"{socket.gethostname()}:{os.getpid()}"
    return Attempt(at=time.time(), where=where, duration=0.0, error=reason)


def _attempt(line: str) -> Attempt:
    try:
        at, where, duration, error = json.loads(line)
        return Attempt(float(at), str(where), float(duration), str(error))
    except (ValueError, TypeError, RecursionError):
        return _UNREADABLE
