"""Keeps in the history what is done by commands, as the dashboard does with what is done there."""

from __future__ import annotations

import getpass
import os
import socket

from ..admin.actions import Action, Subject, record_of
from ..observe.history import History
from .output import say

__all__ = ["note", "write"]


def note(history: History | None, action: Action, subject: Subject, about: str = "") -> None:
    """Have an action kept by a history, if there is one."""
    if history is not None:
        history.record(record_of(action, subject, _operator(), about))


async def write(history: History | None) -> None:
    """Write what was noted; say so if that cannot be done, since the action is done."""
    if history is not None and not await history.flush():
        say("done, but the history did not take the record of it", err=True)


def _operator() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in containers users need not have a name
        user = f"user {os.getuid()}"
    return f"{user} on {socket.gethostname()}"
