"""The first result is stored and given to every later caller: functions, and HTTP requests."""

from .function import idempotent
from .middleware import IdempotencyMiddleware

__all__ = ["IdempotencyMiddleware", "idempotent"]
