"""The history of an item as text: one line of JSON for each failed attempt."""

from __future__ import annotations

import json
import os
import socket
import time

from ..model import Attempt

__all__ = ["entry", "note", "read_entry"]

_UNREADABLE = Attempt(0.0, "", 0.0, "this entry of the history is unreadable")


def entry(attempt: Attempt) -> str:
    """Write an attempt as a line of ASCII, without its end."""
    values = [attempt.at, attempt.where, attempt.duration, attempt.error]
    return json.dumps(values, separators=(",", ":"))


def read_entry(line: str | bytes) -> Attempt:
    """Read what :func:`entry` wrote.

    A line that is corrupt does not keep its delivery from running.
    """
    try:
        at, where, duration, error = json.loads(line)
        return Attempt(float(at), str(where), float(duration), str(error))
    except (ValueError, TypeError, RecursionError):
        return _UNREADABLE


def note(error: str, duration: float = 0.0) -> Attempt:
    """Return what has just happened to an item in this process, after some seconds of running."""
    where = f"{socket.gethostname()}:{os.getpid()}"
    return Attempt(at=time.time() - duration, where=where, duration=duration, error=error)
