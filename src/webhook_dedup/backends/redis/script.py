"""A Lua script and the name under which servers keep it."""

from __future__ import annotations

from hashlib import sha1

__all__ = ["Script"]


class Script:
    """A script.

    Args:
        name: For errors.
        text: The script.
    """

    __slots__ = ("name", "sha", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()
