"""Results as JSON, and back."""

from __future__ import annotations

import functools
import json
import types
import typing
from collections.abc import Callable
from typing import Any, Union, get_args, get_origin

from ..errors import ConfigError, MissingExtra, UnstorableResult

__all__ = ["Results"]

_NUMBERS = ((int,), (float,), (bool,))
_PLAIN = (dict, list, str, int, float, bool, type(None), Any)
_REMEDY = (
    "return JSON values, a dataclass or a pydantic model, with its type as the return annotation "
    "or as result_type=…"
)
_OTHER_TYPE = (
    "return what its type, the return annotation or result_type=…, says, and let that be JSON "
    "values, a dataclass or a pydantic model"
)


class Results:
    """Turns the results of one function into bytes and back into equal results.

    JSON values go as they are. Anything else, dataclasses and pydantic models among it, goes by its
    type, which is the function's return annotation unless ``given``.
    """

    def __init__(self, function: Callable[..., Any], given: Any) -> None:
        self._function = function
        self._given = given
        self._name = getattr(function, "__qualname__", type(function).__qualname__)

    def check(self) -> None:
        """Find out whether results of this type can be stored at all, before anything runs.

        Raises:
            ConfigError: They cannot; says what to change.
        """
        try:
            _ = self._adapter
        except RuntimeError as exc:  # the base of what pydantic calls a user's error
            why = str(exc).splitlines()[0]
            raise ConfigError(
                f"results of {self._name} cannot be stored: {why}; {_REMEDY}"
            ) from exc

    def encode(self, value: Any) -> bytes:
        """Return a result as JSON, having seen that it comes back as it was.

        Raises:
            UnstorableResult: It would not; says what to change.
        """
        try:
            raw = self._dump(value)
            again = self._decode(raw)
        except (TypeError, ValueError, RecursionError) as exc:
            raise self._unstorable(value, str(exc).splitlines()[0]) from exc
        if type(again) is not type(value):
            raise self._unstorable(value, f"it would come back as a {type(again).__name__}")
        if self._compared(again) != self._compared(value):
            changed = "it would come back with tuples, other values or keys of another type"
            raise self._unstorable(value, changed)
        return raw

    def decode(self, raw: bytes) -> Any:
        """Return a stored result.

        Raises:
            UnstorableResult: It does not fit the type that results have now.
        """
        try:
            return self._decode(raw)
        except ValueError as exc:
            raise UnstorableResult(
                f"the stored result of {self._name} does not fit the type that it returns now: "
                f"{str(exc).splitlines()[0]}; let the type take the old ones too, or give "
                "@idempotent another scope=, under which each key runs once more"
            ) from exc

    def _decode(self, raw: bytes) -> Any:
        adapter = self._adapter
        return json.loads(raw) if adapter is None else adapter.validate_json(raw)

    def _compared(self, value: Any) -> Any:
        """Return what must be equal: not the value itself, whose class may know no equality."""
        return value if self._adapter is None else self._adapter.dump_python(value, round_trip=True)

    def _dump(self, value: Any) -> bytes:
        if self._adapter is None:
            return json.dumps(value, allow_nan=False).encode()
        raw: bytes = self._adapter.dump_json(value, warnings="error")
        return raw

    @functools.cached_property
    def _adapter(self) -> Any:
        """What turns results that are not plain JSON, ``None`` where they are."""
        # Not before the first call: an annotation may name what is defined below the function.
        wanted = self._annotation() if self._given is None else self._given
        if _is_plain(wanted):
            return None
        try:
            from pydantic import TypeAdapter  # noqa: PLC0415 - only these results need it
        except ImportError as exc:
            raise MissingExtra(f"results of type {wanted!r}", "results") from exc
        return TypeAdapter(wanted)

    def _annotation(self) -> Any:
        try:
            return typing.get_type_hints(_annotated(self._function)).get("return")
        except NameError as exc:
            raise ConfigError(
                f"the return annotation of {self._name} cannot be read: {exc}; "
                "give @idempotent result_type=…"
            ) from exc

    def _unstorable(self, value: Any, why: str) -> UnstorableResult:
        return UnstorableResult(
            f"{self._name} returned a {type(value).__name__} that cannot be "
            f"stored: {why}; {_REMEDY if self._adapter is None else _OTHER_TYPE}"
        )


def _annotated(function: Callable[..., Any]) -> Any:
    """Return what has the annotations of a partial, or of an object that is called."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if hasattr(function, "__qualname__") else type(function).__call__


def _is_plain(wanted: Any) -> bool:
    origin = get_origin(wanted)
    if origin is None:
        return wanted is None or wanted in _PLAIN
    if origin is dict and get_args(wanted)[:1] in _NUMBERS:  # JSON makes text of its keys
        return False
    if origin in (Union, types.UnionType, dict, list):
        return all(map(_is_plain, get_args(wanted)))
    return False
