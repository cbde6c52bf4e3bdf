"""Extraction expressions: where in a request an id, a type or a time is found."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import ConfigError, RejectedDelivery
from .ids import bad_id, event_id_of, join_parts
from .jmespaths import compile_jmespath
from .parsed import Parsed, is_header_name, shown
from .times import parse_time

__all__ = [
    "Expression",
    "FirstOf",
    "compile_extractor",
    "compile_lenient",
    "compile_reader",
    "compile_time",
]

Reader = Callable[[Parsed], object]
Single = str | Reader


@dataclass(frozen=True, slots=True, init=False)
class FirstOf:
    """Several expressions of which the first that finds something counts.

    One that cannot be read at all, such as a JMESPath in a form, finds nothing.
    """

    choices: tuple[Expression, ...]

    def __init__(self, *choices: Expression) -> None:
        object.__setattr__(self, "choices", choices)


Expression = Single | tuple[Single, ...] | FirstOf


def compile_extractor(expression: Expression) -> Callable[[Parsed], str | None]:
    """Return a function that reads the event id from a request.

    It gives ``None`` for an id that is missing, null or blank, and raises ``RejectedDelivery``
    for one that is neither text nor an integer, is longer than 2,000 characters, stands twice
    with different values, or cannot be read.

    Args:
        expression: ``"header:Name"``, ``"form:field"``, a JMESPath into the JSON body, or a
            function of the request. Several in a tuple make one composite id, which is missing
            when one of them is; those that end in ``?`` may be missing while another is there.

    Raises:
        ConfigError: The expression is invalid.
    """
    read = compile_reader(expression)
    return lambda parsed: event_id_of(read(parsed))


def compile_reader(expression: Expression) -> Reader:
    """Return a function that reads what stands there as it is, blank text for example.

    Raises:
        ConfigError: The expression is invalid.
    """
    if isinstance(expression, FirstOf):
        return _first_of(expression.choices)
    if isinstance(expression, tuple):
        return _composite(expression)
    return _single(expression)


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
    raw = compile_reader(expression)

    def read(parsed: Parsed) -> float | None:
        try:
            return parse_time(raw(parsed))
        except RejectedDelivery:
            return None

    return read


def _single(expression: Single) -> Reader:
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


def _first_of(choices: Sequence[Expression]) -> Reader:
    if not choices:
        raise ConfigError("FirstOf() names no expression")
    extractors = [compile_extractor(choice) for choice in choices]

    def read(parsed: Parsed) -> str | None:
        rejections = []
        for extract in extractors:
            try:
                found = extract(parsed)
            except RejectedDelivery as rejection:
                rejections.append(rejection)
            else:
                if found is not None:
                    return found
        if len(rejections) == len(extractors):
            raise rejections[0]
        return None

    return read


def _composite(expressions: tuple[Single, ...]) -> Reader:
    if not expressions:
        raise ConfigError("a composite expression has at least one part; () has none")
    parts = [_part(expression) for expression in expressions]

    def read(parsed: Parsed) -> str | None:
        found = []
        for extract, optional in parts:
            value = extract(parsed)
            if value is None and not optional:
                return None
            found.append(value)
        return join_parts(found) if any(found) else None

    return read


def _part(expression: Single) -> tuple[Callable[[Parsed], str | None], bool]:
    optional = isinstance(expression, str) and expression.endswith("?")
    if isinstance(expression, str):
        expression = expression.removesuffix("?")
    read = _single(expression)
    return lambda parsed: event_id_of(read(parsed)), optional


def _header(name: str) -> Reader:
    if not is_header_name(name):
        raise ConfigError(f"'header:{name}' names no header; write for example header:X-Event-Id")
    return lambda parsed: parsed.header(name)


def _form_field(name: str) -> Reader:
    if not name:
        raise ConfigError("'form:' names no field; write for example form:event_id")
    return lambda parsed: parsed.form_value(name)


def _body(expression: str) -> Reader:
    search = compile_jmespath(expression)
    what = f"the JMESPath {shown(expression)}"

    def read(parsed: Parsed) -> object:
        document = parsed.json()
        return _guard(lambda: search(document), what)

    return read


def _call(function: Reader) -> Reader:
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
        raise bad_id(f"{what} failed with {type(exc).__name__}") from exc
