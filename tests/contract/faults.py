"""The register of deliberately broken stores."""

from webhook_dedup.stores.memory import MemoryStore

__all__ = ["FAULTS", "caught_by"]

FAULTS: dict[type[MemoryStore], tuple[str, ...]] = {}
"""Each broken store with the tests of the contract that must catch it."""


def caught_by(*tests):
    """Register a broken store under the names of the tests that must fail on it."""

    def register(store):
        FAULTS[store] = tests
        return store

    return register
