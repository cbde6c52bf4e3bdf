"""Hands each record to every observer, and keeps their faults away from the events."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .record import Record

if TYPE_CHECKING:
    from webhook_dedup.contracts import Observer

__all__ = ["Recorder"]

logger = logging.getLogger("webhook_dedup")


class Recorder:
    """The one place records go through.

    Args:
        observers: Called in order for each record.
    """

    def __init__(self, observers: Iterable[Observer]) -> None:
        self.observers = tuple(observers)

    def __call__(self, record: Record) -> None:
        """Give a record to every observer."""
        for observer in self.observers:
            try:
                observer.record(record)
            except Exception:
                name = type(observer).__name__
                logger.exception("observer %s failed on %s", name, record.kind.value)
