"""Readers for what a plain expression cannot reach. A row may hold one wherever it holds one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from .batches import ItemRequest
from .jmespaths import compile_jmespath
from .parsed import Parsed

__all__ = ["BodyHash", "EscapedHeader", "FormJson", "Hashed", "JwtPayload", "Outer"]

_Search = Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class _ByPath:
    path: str
    _search: _Search = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_search", compile_jmespath(self.path))


@dataclass(frozen=True, slots=True)
class Outer(_ByPath):
    """A JMESPath into the outermost array element that holds an item, such as Meta's entry."""

    def __str__(self) -> str:
        return f"outer:{self.path}"

    def __call__(self, parsed: Parsed) -> object:
        if not isinstance(parsed, ItemRequest):
            return None
        place = (id(parsed.outer), self.path)
        if place not in parsed.found:
            parsed.found[place] = self._search(parsed.outer)
        return parsed.found[place]


@dataclass(frozen=True, slots=True)
class Hashed(_ByPath):
    """The SHA-256 of what a JMESPath finds in the body, whatever the order of its keys."""

    def __str__(self) -> str:
        return f"sha256:{self.path}"

    def __call__(self, parsed: Parsed) -> object:
        found = self._search(parsed.json())
        if found is None:
            return None
        spelled = json.dumps(found, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(spelled.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class FormJson(_ByPath):
    """A JMESPath into JSON in a form field."""

    name: str = field(kw_only=True)

    def __str__(self) -> str:
        return f"form:{self.name}:{self.path}"

    def __call__(self, parsed: Parsed) -> object:
        text = parsed.form_value(self.name)
        if text is None:
            return None
        return self._search(Parsed((), text.encode("utf-8", "surrogatepass")).json())


@dataclass(frozen=True, slots=True)
class BodyHash:
    """The SHA-256 of the exact body; nothing for an empty one, which is like any other."""

    def __str__(self) -> str:
        return "sha256 of the body"

    def __call__(self, parsed: Parsed) -> object:
        return hashlib.sha256(parsed.body).hexdigest() if parsed.body else None


@dataclass(frozen=True, slots=True)
class EscapedHeader:
    """A header whose value is percent-encoded, as those of CloudEvents are."""

    header: str

    def __str__(self) -> str:
        return f"header:{self.header}"

    def __call__(self, parsed: Parsed) -> object:
        value = parsed.header(self.header)
        return None if value is None else unquote(value, errors="surrogateescape")


@dataclass(frozen=True, slots=True)
class JwtPayload:
    """The claims of a JSON web token in a header, as they stand there.

    They are only as good as the signature, which the row's scheme must verify.
    """

    header: str

    def __str__(self) -> str:
        return f"claims in header:{self.header}"

    def __call__(self, parsed: Parsed) -> object:
        token = parsed.header(self.header) or ""
        return token.split(".")[1] if token.count(".") == 2 else None  # noqa: PLR2004 - head.claims.signature
