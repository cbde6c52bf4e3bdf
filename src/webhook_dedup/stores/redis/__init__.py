"""Claims in Redis or Valkey: one command for a fresh claim, shared by every process."""

from .store import RedisStore

__all__ = ["RedisStore"]
