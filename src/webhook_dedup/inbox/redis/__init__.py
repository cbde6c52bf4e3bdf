"""Accepted deliveries in Redis or Valkey, shared by every process and machine."""

from .inbox import RedisInbox

__all__ = ["RedisInbox"]
