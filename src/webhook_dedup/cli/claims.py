"""How a claim is shown to machines."""

from __future__ import annotations

from typing import Any

from ..model import Claim

__all__ = ["facts_of"]


def facts_of(claim: Claim) -> dict[str, Any]:
    """Return what is told of a claim that is held or done; ``remaining`` is in seconds."""
    return {
        "state": "done" if claim.done else "held",
        "holder": claim.holder,
        "first_seen": claim.first_seen,
        "remaining": claim.remaining,
    }
