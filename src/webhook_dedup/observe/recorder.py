"""Hands each record to every observer, and keeps their faults away from the events."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..contracts import Choosy
from ..errors import ConfigError
from .record import Kind, Record, about

if TYPE_CHECKING:
    from ..contracts import Observer
    from ..model import Event

__all__ = ["Recorder"]

logger = logging.getLogger("webhook_dedup")


class Recorder:
    """The one place records go through.

    Args:
        observers: Called in order for each record.
    """

    def __init__(self, observers: Iterable[Observer]) -> None:
        self.observers = tuple(map(_checked, observers))
        self._choosy = [
            each for each in self.observers if isinstance(each, Choosy) and callable(each.wants)
        ]
        self._all_wanted = len(self._choosy) < len(self.observers)

    def about(self, kind: Kind, event: Event, **fields: Any) -> None:
        """Record something that happened to an event; see :func:`about`.

        On the way of every event, so a record that nobody wants is not even made.
        """
        if self._all_wanted or fields.get("warning") or self._wanted(kind):
            self(about(kind, event, **fields))

    def _wanted(self, kind: Kind) -> bool:
        for observer in self._choosy:
            try:
                if observer.wants(kind):
                    return True
            except Exception:
                logger.exception("observer %s failed on %s", type(observer).__name__, kind.value)
        return False

    def __call__(self, record: Record) -> None:
        """Give a record to every observer."""
        for observer in self.observers:
            try:
                observer.record(record)
            except Exception:
                name = type(observer).__name__
                logger.exception("observer %s failed on %s", name, record.kind.value)


def _checked(observer: Observer) -> Observer:
    if isinstance(observer, type) or not callable(getattr(observer, "record", None)):
        raise ConfigError(
            f"observers are objects with a record(record) method, such as PrometheusObserver(); "
            f"got {observer!r}"
        )
    return observer
