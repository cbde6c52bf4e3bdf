"""The contract suite itself: it passes what is whole and catches what is broken."""

import pytest

from webhook_dedup.stores.memory import MemoryStore

from . import (  # noqa: F401 - they fill FAULTS
    broken_batches,
    broken_claims,
    broken_completion,
    broken_concurrency,
    broken_holding,
)
from .faults import FAULTS
from .runner import RULES, failure_of


@pytest.mark.parametrize("broken", FAULTS, ids=lambda store: store.__name__)
async def test_a_broken_store_is_caught(broken):
    """Each fault is caught by the very rules that forbid it."""
    caught = {rule: await failure_of(rule, broken, broken=True) for rule in FAULTS[broken]}
    assert [rule for rule, failure in caught.items() if failure is None] == []


@pytest.mark.parametrize("rule", RULES)
async def test_a_whole_store_passes(rule):
    """No rule fails on the reference store."""
    assert await failure_of(rule, MemoryStore, broken=False) is None


def test_every_rule_catches_a_fault():
    """A rule that no fault can break would prove nothing."""
    assert set(RULES) == {rule for rules in FAULTS.values() for rule in rules}
