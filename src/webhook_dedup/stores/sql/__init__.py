"""Claims in a table of SQLite or Postgres, through one SQLAlchemy Core implementation."""

from ...backends import sql as _driver  # noqa: F401 - first, as it tells which extra is missing
from .store import SqlStore

__all__ = ["SqlStore"]
