"""Prepares what mkdocstrings shows: docstrings as Markdown, defaults as values."""

from __future__ import annotations

import re
from typing import Any

from griffe import Attribute, Extension, Function, Object

__all__ = ["Readable"]

_ROLE = re.compile(r":[a-z]+:`~?(?P<name>[^`]+)`")
_LITERAL_BLOCK = re.compile(r"::$", re.MULTILINE)


class Readable(Extension):
    """Leaves nothing on the page that only Sphinx or the source's reader understands.

    Roles become code, ``::`` before a block becomes a colon, and a default that is a constant of
    its module becomes the constant's value.
    """

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite an object."""
        if obj.docstring is not None:
            obj.docstring.value = _markdown(obj.docstring.value)
        if isinstance(obj, Function):
            _show_constants(obj)


def _markdown(text: str) -> str:
    return _LITERAL_BLOCK.sub(":", _ROLE.sub(r"`\g<name>`", text))


def _show_constants(function: Function) -> None:
    for parameter in function.parameters:
        constant = function.module.members.get(str(parameter.default))
        if isinstance(constant, Attribute) and constant.value is not None:
            parameter.default = constant.value
