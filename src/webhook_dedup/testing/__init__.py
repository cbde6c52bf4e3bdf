"""Tools for tests: the contract suite every store must pass, and a clock that tests move."""

from .clock import FakeClock
from .store_contract import StoreContract

__all__ = ["FakeClock", "StoreContract"]
