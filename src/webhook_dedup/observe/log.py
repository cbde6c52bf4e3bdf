"""Records as structured log lines on the logger ``webhook_dedup``."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any

from .record import Kind, Record

__all__ = ["JsonFormatter", "LogObserver", "fields"]

_LEVELS = {
    Kind.RECEIVED: logging.DEBUG,
    Kind.STARTED: logging.DEBUG,
    Kind.REJECTED: logging.WARNING,
    Kind.FAILED: logging.WARNING,
    Kind.LEASE_LOST: logging.WARNING,
    Kind.STORE_ERROR: logging.WARNING,
    Kind.ESCALATED: logging.WARNING,
    Kind.BURIED: logging.ERROR,
}
_LEVEL = logging.INFO
_QUIET = ("kind", "error", "warning", "at", "delivery")
_NAMES = tuple(name for name in Record.__struct_fields__ if name not in _QUIET)


class LogObserver:
    """Writes each record as one line, with its fields in ``extra`` under ``webhook_dedup``.

    Everything that comes from a sender is escaped, so that no event id can forge a log line.

    Args:
        logger: Defaults to the logger named ``webhook_dedup``.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("webhook_dedup")

    def wants(self, kind: Kind) -> bool:
        return self._logger.isEnabledFor(_LEVELS.get(kind, _LEVEL))

    def record(self, record: Record) -> None:
        level = logging.WARNING if record.warning else _LEVELS.get(record.kind, _LEVEL)
        if self._logger.isEnabledFor(level):
            told = fields(record)
            self._logger.log(
                level,
                "%s",
                _line(record, told),
                extra={"webhook_dedup": told},
                exc_info=record.error,
            )


def fields(record: Record) -> dict[str, Any]:
    """Return the fields of a record that apply, ``kind`` first, ready for JSON."""
    told: dict[str, Any] = {"kind": record.kind.value}
    for name in _NAMES:
        value = getattr(record, name)
        if value is not None:
            told[name] = round(value, 6) if isinstance(value, float) else value
    return told


def _line(record: Record, told: dict[str, Any]) -> str:
    rest = " ".join(f"{name}={_text(value)}" for name, value in told.items() if name != "kind")
    return f"{record.kind.value} {rest}"


def _text(value: object) -> str:
    if not isinstance(value, str):
        return str(value)
    plain = value.isascii() and value.isprintable() and " " not in value and '"' not in value
    return value if plain and value else json.dumps(value)


class JsonFormatter(logging.Formatter):
    """Formats every log line as one JSON object; lines of this library carry their record's fields.

    Usage::

        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
        logging.getLogger("webhook_dedup").addHandler(handler)
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, tz=timezone.utc).isoformat(),
            "level": record.levelname,
            "logger": record.name,
        }
        told = getattr(record, "webhook_dedup", None)
        message, trace = record.getMessage(), record.exc_text
        if isinstance(told, dict):
            line.update(told)
            # A QueueHandler puts it behind the message, and a line of this library is a single one.
            trace = trace or message.partition("\n")[2]
        else:
            line["message"] = message
        if record.exc_info and record.exc_info[0] is not None:
            trace = self.formatException(record.exc_info)
        if trace:
            line["traceback"] = trace
        return json.dumps(line, default=str)
