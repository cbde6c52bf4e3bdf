"""Runs tests of the store contract in this process, without waiting."""

from math import isinf

import pytest

from webhook_dedup.testing import FakeClock, StoreContract

__all__ = ["RULES", "failure_of"]

RULES = sorted(name for name in dir(StoreContract) if name.startswith("test_"))


class ClockedContract(StoreContract):
    patience = 0.5

    def __init__(self):
        self.clock = FakeClock()

    async def elapse(self, seconds):
        self.clock.advance(seconds)

    def now(self):
        return self.clock.time()

    async def unexpiring(self, store):
        return [key for key, entry in store._entries.items() if isinf(entry.expires_at)]


async def failure_of(rule, make_store):
    """Run one test against a new store; return what it raised, or ``None``."""
    contract = ClockedContract()
    try:
        await getattr(contract, rule)(make_store(clock=contract.clock))
    except pytest.skip.Exception:
        return None
    except (Exception, pytest.fail.Exception) as failure:  # noqa: BLE001  whatever a fault raises
        return failure
    return None
