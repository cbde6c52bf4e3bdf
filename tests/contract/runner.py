"""Runs tests of a contract in this process, without waiting."""

from math import isinf

import pytest

from tests.clocked import Clocked
from webhook_dedup.testing import FakeClock, StoreContract

__all__ = ["RULES", "failure_in", "failure_of", "rules_of"]


def rules_of(contract):
    """Name the tests of a contract suite."""
    return sorted(name for name in dir(contract) if name.startswith("test_"))


RULES = rules_of(StoreContract)


class ClockedContract(Clocked, StoreContract):
    def __init__(self):
        self.clock = FakeClock()

    async def unexpiring(self, store):
        return [key for key, entry in store._entries.items() if isinf(entry.expires_at)]


async def failure_of(rule, make_store, *, broken):
    """Run one test against a new store; return what it raised, or ``None``."""
    return await failure_in(ClockedContract(), rule, make_store, broken=broken)


async def failure_in(contract, rule, make, *, broken, **fixtures):
    """Run one test of a contract against something new; return what it raised, or ``None``.

    What is broken may hang, and is not waited for as long as what a busy machine holds up. A slip
    in the writing of a fault is no fault that a rule has caught, and is raised.
    """
    if broken:
        contract.patience = 0.5
    try:
        await getattr(contract, rule)(make(clock=contract.clock), **fixtures)
    except pytest.skip.Exception:
        return None
    except (AttributeError, NameError, TypeError):
        raise
    except (Exception, pytest.fail.Exception) as failure:  # noqa: BLE001 - whatever a fault raises
        return failure
    return None
