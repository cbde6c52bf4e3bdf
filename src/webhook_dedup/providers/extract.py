"""Extraction expressions: where in a request an id, a type or a time is found."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions

from ..errors import ConfigError, RejectedDelivery
from .parsed import Parsed, is_header_name, only, shown
from .times import parse_time

__all__ = [
    "Expression",
    "Parsed",
    "compile_extractor",
    "compile_lenient",
    "compile_time",
    "event_id_of",
    "parse_time",
]

Expression = str | Callable[[Parsed], object] | tuple[str, ...]
Reader = Callable[[Parsed], object]

_MAX_ID = 2_000
_DOTTED_NAMES = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


def compile_extractor(expression: Expression) -> Callable[[Parsed], str | None]:
    """Return a function that reads the event id from a request.

    It gives ``None`` for an id that is missing, null or blank, and raises ``RejectedDelivery``
    for one that is neither text nor an integer, is longer than 2,000 characters, stands twice
    with different values, or cannot be read.

    Args:
        expression: ``"header:Name"``, ``"form:field"``, a JMESPath into the JSON body, or a
            function of the request.

    Raises:
        ConfigError: The expression is invalid.
    """
    read = _compile(expression)
    return lambda parsed: event_id_of(read(parsed))


def compile_lenient(expression: Expression) -> Callable[[Parsed], str | None]:
    """Return a function that reads a value nothing depends on: whatever is odd gives ``None``.

    Raises:
        ConfigError: The expression is invalid.
    """
    extract = compile_extractor(expression)

    def read(parsed: Parsed) -> str | None:
        try:
            return extract(parsed)
        except RejectedDelivery:
            return None

    return read


def compile_time(expression: Expression) -> Callable[[Parsed], float | None]:
    """Return a function that reads a time as unix seconds: whatever is odd gives ``None``.

    Raises:
        ConfigError: The expression is invalid.
    """
    raw = _compile(expression)

    def read(parsed: Parsed) -> float | None:
        try:
            return parse_time(raw(parsed))
        except RejectedDelivery:
            return None

    return read


def _compile(expression: Expression) -> Reader:
    if callable(expression):
        return _call(expression)
    if not isinstance(expression, str):
        raise ConfigError(
            f"an expression is text or a function, got {type(expression).__name__}; "
            "write 'header:Name', 'form:field' or a JMESPath"
        )
    kind, colon, name = expression.partition(":")
    if colon and kind == "header":
        return _header(name)
    if colon and kind == "form":
        return _form_field(name)
    return _body(expression)


def _header(name: str) -> Reader:
    if not is_header_name(name):
        raise ConfigError(f"'header:{name}' names no header; write for example header:X-Event-Id")
    return lambda parsed: parsed.header(name)


def _form_field(name: str) -> Reader:
    if not name:
        raise ConfigError("'form:' names no field; write for example form:event_id")
    what = f"the form field {shown(name)}"
    return lambda parsed: only(parsed.form().get(name, ()), "ambiguous_field", what)


def _body(expression: str) -> Reader:
    if _DOTTED_NAMES.fullmatch(expression):  # what JMESPath would answer, several times faster
        names = expression.split(".")
        return lambda parsed: _walk(names, parsed.json())
    search = _search(expression)
    what = f"the JMESPath {shown(expression)}"

    def read(parsed: Parsed) -> object:
        document = parsed.json()
        return _guard(lambda: search(document), what)

    return read


def _search(expression: str) -> Callable[[Any], object]:
    try:
        compiled = jmespath.compile(expression)
    except JMESPathError as exc:
        position = getattr(exc, "lex_position", getattr(exc, "lexer_position", None))
        where = "" if position is None else f" at position {position}"
        raise ConfigError(f"{expression!r} is not a valid JMESPath{where}") from exc
    _check_functions(compiled.parsed, expression)
    search: Callable[[Any], object] = compiled.search
    return search


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


def _walk(names: list[str], value: object) -> object:
    for name in names:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _call(function: Callable[[Parsed], object]) -> Reader:
    if inspect.iscoroutinefunction(function):
        raise ConfigError("the function that finds an event id must be a plain def, not async")
    return lambda parsed: _guard(lambda: function(parsed), "the function that finds the event id")


def _guard(read: Callable[[], object], what: str) -> object:
    try:
        return read()
    except RejectedDelivery:
        raise
    except Exception as exc:
        # Foreign code on foreign data: its message may quote the body, its type does not.
        raise _bad_id(f"{what} failed with {type(exc).__name__}") from exc


def event_id_of(value: object) -> str | None:
    """Return a found value as an event id, or ``None`` if it is null or blank.

    Raises:
        RejectedDelivery: It is neither text nor an integer, or it is too long.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = _decimal(value)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _bad_id(f"event id must be a string or an integer, got {_kind(value)}")
    if len(value) > _MAX_ID:
        raise _too_long()
    return value if value.strip() else None


def _decimal(number: int) -> str:
    # Python refuses to print very long integers, so they are measured first.
    if number.bit_length() > 4 * _MAX_ID:
        raise _too_long()
    return str(number)


def _kind(value: object) -> str:
    names = {bool: "a boolean", float: "a fraction", list: "a list", dict: "an object"}
    return names.get(type(value), f"a value of type {type(value).__name__}")


def _bad_id(detail: str) -> RejectedDelivery:
    return RejectedDelivery(400, "bad_event_id", detail)


def _too_long() -> RejectedDelivery:
    detail = f"event id must not be longer than {_MAX_ID:,} characters"
    return RejectedDelivery(400, "event_id_too_long", detail)
