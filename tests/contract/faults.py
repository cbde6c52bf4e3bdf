"""The register of deliberately broken stores."""

from webhook_dedup.stores.memory import MemoryStore

__all__ = ["FAULTS", "caught_by", "registering"]

FAULTS: dict[type[MemoryStore], tuple[str, ...]] = {}
"""Each broken store with the tests of the contract that must catch it."""


def registering(faults):
    """Return a decorator that registers what is broken under the tests that must fail on it."""

    def caught_by(*tests):
        def register(broken):
            faults[broken] = tests
            return broken

        return register

    return caught_by


caught_by = registering(FAULTS)
