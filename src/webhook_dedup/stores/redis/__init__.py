"""Claims in Redis or Valkey: one command for a fresh claim, shared by every process."""

from __future__ import annotations

from ...errors import MissingExtra

try:
    import redis.asyncio as _driver  # noqa: F401  imported here, so that one place tells of pip
except ImportError as error:
    raise MissingExtra("redis:// stores", "redis") from error

from .store import RedisStore

__all__ = ["RedisStore"]
