"""What ``webhook-dedup demo`` shows."""

from .command import demo

__all__ = ["demo"]
