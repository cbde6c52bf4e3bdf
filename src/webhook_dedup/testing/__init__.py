"""Tools for tests: the contracts of stores and inboxes, and what tries an app that uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .answers import Answer, Answers, assert_ran_once
from .clock import FakeClock
from .failing_store import FailingStore
from .hammer import hammer

if TYPE_CHECKING:
    from .inbox_contract import InboxContract
    from .store_contract import StoreContract

__all__ = [
    "Answer",
    "Answers",
    "FailingStore",
    "FakeClock",
    "InboxContract",
    "StoreContract",
    "assert_ran_once",
    "hammer",
]


def __getattr__(name: str) -> Any:
    # The suites load pytest and all their rules, and pytest itself loads this package's plugin.
    if name == "StoreContract":
        from .store_contract import StoreContract  # noqa: PLC0415 - loads pytest

        return StoreContract
    if name == "InboxContract":
        from .inbox_contract import InboxContract  # noqa: PLC0415 - loads pytest

        return InboxContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
