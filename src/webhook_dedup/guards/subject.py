"""What an event is about: the thread, customer or account that guards keep apart."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..errors import ConfigError
from ..model import Event, Key
from ..providers.jmespaths import compile_jmespath
from .data import need_json
from .passage import Passage

__all__ = ["Subject", "Subjects"]

Subject = str | Callable[[Event, Any], object]
"""A JMESPath into the event's JSON, or a function of the event and its JSON (of a form: its fields,
each with the list of its values)."""


class Subjects:
    """Names the subject of an event and the keys that guards claim for it.

    Args:
        what: Scope of the guard, for example ``"lock"``.
        subject: Where the subject is; ``None`` takes the event's own, which the preset knows.
        name: Who shares the subject: events of one source or function by default.

    Attributes:
        shares: The same for those that claim the same keys for the same subjects.

    Raises:
        ConfigError: ``subject`` or ``name`` does not fit.
    """

    def __init__(self, what: str, subject: Subject | None, name: str | None) -> None:
        if name is not None and not name.strip():
            raise ConfigError(f"name of a {what} guard must not be blank; leave it out, or name it")
        self._what = what
        self._name = name
        self.shares = (what, name)
        self._find = _finder(subject)

    def of(self, passage: Passage) -> str | None:
        """Return the subject of an event, ``None`` if it has none.

        Raises:
            ConfigError: It is an object that no other event could have as well, or the event is no
                JSON in which a JMESPath could find one.
        """
        found = self._find(passage.event, passage.data)
        if isinstance(found, list) and len(found) == 1:  # a field of a form has all its values
            found = found[0]
        if type(found).__repr__ is object.__repr__ and type(found).__str__ is object.__str__:
            raise ConfigError(
                f"the subject of a {self._what} guard must be text or an integer, got {found!r}, "
                "which is equal to no other; write for example subject=lambda event, data: data.id"
            )
        return None if found is None or found == "" else str(found)

    def key(self, passage: Passage, *more: object) -> Key:
        """Return a key of the event's subject, apart for each tenant."""
        event = passage.event
        tenant = event.key.tenant if event.key else ""
        return self.key_of(self.of(passage) or "", event.source, *more, tenant=tenant)

    def key_of(self, subject: str, source: str, *more: object, tenant: str = "") -> Key:
        """Return a key of a subject that is known by name."""
        scope = ":".join(map(str, (self._what, *more, self._name or source)))
        return Key(scope, subject or "-", tenant)


def _finder(subject: Subject | None) -> Callable[[Event, Any], object]:
    if subject is None:
        return lambda event, _: event.subject
    if inspect.iscoroutinefunction(subject):
        raise ConfigError("the function that finds a subject must be a plain def, not async")
    if callable(subject):
        return subject
    search = compile_jmespath(subject)

    def find(_: Event, data: Any) -> object:
        remedy = "write for example subject=lambda event, data: data.thread"
        return search(need_json(data, f"subject={subject!r}", remedy))

    return find
