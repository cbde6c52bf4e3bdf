"""JMESPaths, checked when they are written."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.visitor import TreeInterpreter

from ..errors import ConfigError

__all__ = ["Search", "compile_jmespath"]

Search = Callable[[Any], object]

_DOTTED_NAMES = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


def compile_jmespath(expression: str) -> Search:
    """Return a function that finds what a JMESPath names in a JSON document.

    Raises:
        ConfigError: It is no JMESPath, or calls a function wrongly.
    """
    if _DOTTED_NAMES.fullmatch(expression):  # what JMESPath would answer, several times faster
        names = expression.split(".")
        return lambda document: _walk(names, document)
    return _search(expression)


def _walk(names: list[str], value: object) -> object:
    for name in names:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _search(expression: str) -> Search:
    try:
        compiled = jmespath.compile(expression)
    except JMESPathError as exc:
        position = getattr(exc, "lex_position", getattr(exc, "lexer_position", None))
        where = "" if position is None else f" at position {position}"
        raise ConfigError(f"{expression!r} is not a valid JMESPath{where}") from exc
    _check_functions(compiled.parsed, expression)
    # One for all searches: each of its own would look up the methods of every node again.
    interpreter = TreeInterpreter()
    return lambda document: interpreter.visit(compiled.parsed, document)


def _check_functions(node: Any, expression: str) -> None:
    """Refuse wrong calls at start-up; jmespath itself notices them only on the way through."""
    if not isinstance(node, dict):
        return
    if node["type"] == "function_expression":
        _check_call(node["value"], len(node["children"]), expression)
    for child in node["children"]:
        _check_functions(child, expression)


def _check_call(name: str, count: int, expression: str) -> None:
    known = Functions.FUNCTION_TABLE.get(name)
    if known is None:
        raise ConfigError(f"{expression!r} calls {name}(), which JMESPath does not have")
    signature = known["signature"]
    variadic = bool(signature) and signature[-1].get("variadic", False)
    if count < len(signature) or (count > len(signature) and not variadic):
        raise ConfigError(f"{expression!r} calls {name}() with {count} arguments")
