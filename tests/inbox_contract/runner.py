"""Runs tests of the inbox contract in this process, without waiting."""

from inspect import signature

from tests.clocked import Clocked
from webhook_dedup.testing import FakeClock, InboxContract

from ..contract.runner import failure_in, rules_of

__all__ = ["RULES", "failure_of"]

RULES = rules_of(InboxContract)


class ClockedContract(Clocked, InboxContract):
    def __init__(self):
        self.clock = FakeClock()

    async def spoil(self, inbox, item_id):
        inbox.spoilt.add(item_id)
        return True


async def failure_of(rule, make_inbox, caplog, *, broken):
    """Run one test against a new inbox; return what it raised, or ``None``."""
    contract = ClockedContract()
    fixtures = (
        {"caplog": caplog} if "caplog" in signature(getattr(contract, rule)).parameters else {}
    )
    return await failure_in(contract, rule, make_inbox, broken=broken, **fixtures)
