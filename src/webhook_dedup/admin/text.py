"""Text that others wrote, made safe to show."""

from __future__ import annotations

__all__ = ["escape_of", "inert"]


def inert(text: str) -> str:
    """Return text with whatever could steer a terminal or a reader's eye escaped.

    That is control characters, also those that turn the direction of writing or are not seen, and
    lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else escape_of(each) for each in text)


def escape_of(character: str) -> str:
    r"""Return the escape that stands for a character, such as ``\x1b``."""
    return character.encode("unicode_escape").decode()
