"""What happened to recent deliveries, kept for the people who ask."""

from .entry import Entries, Entry, Request
from .history import History

__all__ = ["Entries", "Entry", "History", "Request"]
