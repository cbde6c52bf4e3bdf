"""Accepted deliveries in a table of SQLite or Postgres, shared by every process."""

from ...backends import sql as _driver  # noqa: F401 - first, as it tells which extra is missing
from .inbox import SqlInbox

__all__ = ["SqlInbox"]
