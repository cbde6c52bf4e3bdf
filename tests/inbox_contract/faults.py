"""The register of deliberately broken inboxes."""

from webhook_dedup.inbox.memory import MemoryInbox

from ..contract.faults import registering

__all__ = ["FAULTS", "caught_by"]

FAULTS: dict[type[MemoryInbox], tuple[str, ...]] = {}
"""Each broken inbox with the tests of the contract that must catch it."""

caught_by = registering(FAULTS)
