"""Where accepted deliveries live until they are settled."""

from .memory import MemoryInbox

__all__ = ["MemoryInbox"]
