"""Redis and Valkey by redis-py: URLs, clients, commands on their way, what goes wrong."""

from __future__ import annotations

from ...errors import MissingExtra

try:
    import redis.asyncio as _driver  # noqa: F401 - imported here, so that one place tells of pip
except ImportError as error:
    raise MissingExtra("redis:// stores", "redis") from error
