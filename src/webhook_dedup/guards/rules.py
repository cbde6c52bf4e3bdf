"""Filters as plain data."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ConfigError
from ..model import Event
from ..observe.record import Reason
from ..providers.jmespaths import compile_jmespath
from .data import need_json
from .senders import within

__all__ = ["Rules"]

Test = Callable[[Any], bool]

_LONGEST_SEARCHED = 10_000  # characters of a value that a regular expression is shown
_DEEPEST = 32


class Rules:
    """Skips events by a rule that is plain data, so that it may come from a file.

    A rule is an object of one of these forms::

        {"field": "data.object.status", "is": "equals", "value": "paid"}
        {"any": [rule, …]}    {"all": [rule, …]}    {"not": rule}

    ``field`` is a JMESPath into the event's JSON. ``is`` names what is tested:

    - ``equals``: the same JSON value; ``1``, ``true`` and ``"1"`` differ
    - ``in``: equal to one of a list of values
    - ``prefix``, ``suffix``: text that begins or ends so
    - ``domain``: an address or host name of this domain or of one below it
    - ``regex``: text in which the regular expression is found, within its first 10,000 characters
    - ``exists``: with the value ``true``, that the field is there and not null; with ``false``,
      that it is not

    A field that is a list passes a test when one of its elements does. An absent field passes none
    but ``exists``.

    Args:
        keep: The rule of events that are run; the rest are skipped.
        skip: The rule of events that are skipped.

    Raises:
        ConfigError: A rule is wrong; the message says where and what to write instead.
    """

    def __init__(
        self,
        *,
        keep: Mapping[str, Any] | None = None,
        skip: Mapping[str, Any] | None = None,
    ) -> None:
        if keep is None and skip is None:
            raise ConfigError("Rules need keep=… or skip=…, a rule as plain data")
        self._keep = None if keep is None else _compile(keep, "keep", 0)
        self._skip = None if skip is None else _compile(skip, "skip", 0)

    @classmethod
    def from_json(cls, text: str | bytes) -> Rules:
        """Read rules from a JSON object with ``keep``, ``skip`` or both.

        Raises:
            ConfigError: It is no JSON, or a rule is wrong.
        """
        try:
            given = json.loads(text)
        except ValueError as exc:
            raise ConfigError(f"the rules are not JSON: {exc}") from exc
        if not isinstance(given, dict) or set(given) - {"keep", "skip"}:
            raise ConfigError('the rules must be an object with "keep", "skip" or both')
        return cls(**given)

    def skips(self, event: Event, data: Any) -> tuple[str, str] | None:  # noqa: ARG002 - part of the contract
        need_json(data, "a field of Rules")
        if self._skip is not None and self._skip(data):
            return Reason.FILTERED.value, "a rule skips it"
        if self._keep is not None and not self._keep(data):
            return Reason.FILTERED.value, "no rule keeps it"
        return None


def _compile(rule: object, where: str, depth: int) -> Test:
    if depth > _DEEPEST:
        raise ConfigError(f"{where}: rules are nested more than {_DEEPEST} deep")
    if not isinstance(rule, Mapping):
        raise ConfigError(f"{where} must be a rule such as {_EXAMPLE}, got {rule!r}")
    if "field" in rule:
        return _compile_test(rule, where)
    if len(rule) == 1:
        ((form, inner),) = rule.items()
        if form == "not":
            negated = _compile(inner, f"{where}.not", depth + 1)
            return lambda data: not negated(data)
        if form in _QUANTIFIERS:
            tests = _compile_list(inner, f"{where}.{form}", depth + 1)
            quantifier = _QUANTIFIERS[form]
            return lambda data: quantifier(test(data) for test in tests)
    raise ConfigError(
        f"{where} must have either 'field', 'is' and 'value' or one of 'any', 'all', 'not'; "
        f"it has {sorted(map(str, rule))}"
    )


def _compile_list(rules: object, where: str, depth: int) -> list[Test]:
    if not isinstance(rules, list) or not rules:
        raise ConfigError(f"{where} must be a list of at least one rule, got {rules!r}")
    return [_compile(rule, f"{where}[{number}]", depth) for number, rule in enumerate(rules)]


def _compile_test(rule: Mapping[str, Any], where: str) -> Test:
    if set(rule) != {"field", "is", "value"}:
        raise ConfigError(
            f"{where} must have 'field', 'is' and 'value', as {_EXAMPLE}; it is {rule!r}"
        )
    if not isinstance(rule["field"], str):
        raise ConfigError(f"{where}.field must be a JMESPath, got {rule['field']!r}")
    try:
        find = compile_jmespath(rule["field"])
    except ConfigError as exc:
        raise ConfigError(f"{where}.field: {exc}") from exc
    operator, value = rule["is"], rule["value"]
    if operator == "exists":
        return _exists(find, value, where)
    test = _operator(operator, where)(value, f"{where}.value")

    def passes(data: Any) -> bool:
        found = find(data)
        return any(map(test, found)) if isinstance(found, list) else test(found)

    return passes


def _operator(name: object, where: str) -> Callable[[Any, str], Test]:
    operator = _OPERATORS.get(name) if isinstance(name, str) else None
    if operator is None:
        known = [*_OPERATORS, "exists"]
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"{where}.is: {name!r} is no test; {hint}known are {', '.join(known)}")
    return operator


def _exists(find: Callable[[Any], object], value: object, where: str) -> Test:
    if not isinstance(value, bool):
        raise ConfigError(f"{where}.value of 'exists' must be true or false, got {value!r}")
    return lambda data: (find(data) is not None) is value


def _equals(value: Any, where: str) -> Test:
    if value is None:
        raise ConfigError(f"{where} is null; write is: 'exists', value: false")
    return lambda found: _same(found, value)


def _in(values: Any, where: str) -> Test:
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{where} of 'in' must be a list of at least one value, got {values!r}")
    return lambda found: any(_same(found, value) for value in values)


def _same(found: object, value: object) -> bool:
    # Python takes True for 1, JSON does not.
    return found == value and isinstance(found, bool) == isinstance(value, bool)


def _by_text(passes: Callable[[str, str], bool]) -> Callable[[Any, str], Test]:
    """Make an operator that tests text against text."""

    def operator(value: Any, where: str) -> Test:
        text = _text(value, where)
        return lambda found: isinstance(found, str) and passes(found, text)

    return operator


def _regex(value: Any, where: str) -> Test:
    try:
        pattern = re.compile(_text(value, where))
    except re.error as exc:
        raise ConfigError(f"{where}: {value!r} is no regular expression: {exc}") from exc
    return lambda found: (
        isinstance(found, str) and pattern.search(found[:_LONGEST_SEARCHED]) is not None
    )


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where} must be text and not empty, got {value!r}")
    return value


_EXAMPLE = "{'field': 'data.status', 'is': 'equals', 'value': 'paid'}"
_QUANTIFIERS = {"any": any, "all": all}
_OPERATORS: dict[str, Callable[[Any, str], Test]] = {
    "equals": _equals,
    "in": _in,
    "prefix": _by_text(str.startswith),
    "suffix": _by_text(str.endswith),
    "domain": _by_text(within),
    "regex": _regex,
}
