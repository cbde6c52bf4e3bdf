"""The contract suite itself: it passes what is whole and catches what is broken."""

import pytest

from . import (  # noqa: F401 - they fill FAULTS
    broken_batches,
    broken_concurrency,
    broken_deliveries,
    broken_ends,
    broken_fences,
    broken_finding,
    broken_leases,
    broken_operating,
    broken_settling,
    broken_sources,
)
from .faults import FAULTS
from .runner import RULES, failure_of
from .spoilable import SpoilableInbox


@pytest.mark.parametrize("broken", FAULTS, ids=lambda inbox: inbox.__name__)
async def test_a_broken_inbox_is_caught(broken, caplog):
    """Each fault is caught by the very rules that forbid it."""
    caught = {rule: await failure_of(rule, broken, caplog, broken=True) for rule in FAULTS[broken]}
    assert [rule for rule, failure in caught.items() if failure is None] == []


@pytest.mark.parametrize("rule", RULES)
async def test_a_whole_inbox_passes(rule, caplog):
    """No rule fails on the reference inbox."""
    assert await failure_of(rule, SpoilableInbox, caplog, broken=False) is None


def test_every_rule_catches_a_fault():
    """A rule that no fault can break would prove nothing."""
    assert set(RULES) == {rule for rules in FAULTS.values() for rule in rules}
