"""Tools for tests: the contracts of stores and inboxes, and a clock that tests move."""

from .clock import FakeClock
from .inbox_contract import InboxContract
from .store_contract import StoreContract

__all__ = ["FakeClock", "InboxContract", "StoreContract"]
