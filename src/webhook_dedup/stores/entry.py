"""What a store knows of one key, and how a bid for it is answered."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from ..model import Bid, Claim, Outcome

__all__ = ["Entry", "Keyed", "answer", "outcome_of", "sight"]


class Keyed(Protocol):
    """What a verb is asked about."""

    @property
    def key(self) -> str:
        """The key as text."""


class Entry(Struct, gc=False):
    """A key held under a lease, or done for its TTL."""

    token: str
    expires_at: float  # on the store's clock
    first_seen: float | None = None
    fingerprint: bytes | None = None
    done: bool = False
    result: bytes | None = None
    confirmed: bool = False
    """Another store that stands behind this one holds it too."""


def answer(entry: Entry, bid: Bid, now: float) -> Claim:
    """Say how a bid stands with the live entry of its key."""
    return Claim(
        key=bid.key,
        token=bid.token,
        outcome=outcome_of(bid, entry.token, entry.fingerprint, entry.done),
        fingerprint=bid.fingerprint,
        first_seen=entry.first_seen,
        remaining=entry.expires_at - now,
        done=entry.done,
        holder=entry.token,
        result=entry.result,
    )


def sight(key: str, entry: Entry, now: float) -> Claim:
    """Say how the live entry of a key stands, to someone who bids for nothing."""
    return answer(entry, Bid(key, "", 0.0), now)


def outcome_of(bid: Bid, holder: str, fingerprint: bytes | None, done: bool) -> Outcome:
    """Judge a bid for a live key by what is kept of the key."""
    if holder == bid.token and not done:
        return Outcome.FRESH
    known = fingerprint is not None and bid.fingerprint is not None
    if known and fingerprint != bid.fingerprint:
        return Outcome.MISMATCH
    return Outcome.DUPLICATE if done else Outcome.IN_FLIGHT
