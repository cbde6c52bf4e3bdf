"""SQLite and Postgres by SQLAlchemy: engines, connections, dialects, what goes wrong."""

from __future__ import annotations

from ...errors import MissingExtra

try:
    import sqlalchemy.ext.asyncio  # noqa: F401 - only to fail here, where the remedy is known
except ImportError as exc:  # greenlet may be the part that is missing
    raise MissingExtra("SQL stores", "sqlite,postgres") from exc
