"""What happened to recent deliveries, kept for the people who ask."""

from .entry import Entry, Request
from .history import History

__all__ = ["Entry", "History", "Request"]
