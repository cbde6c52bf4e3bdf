"""Claiming where a later caller would rather wait for the first result than be sent away."""

from __future__ import annotations

import asyncio
from time import monotonic

from ..errors import IdempotencyMismatch, InProgress
from ..model import Claim, Outcome
from ..operation import Operation

__all__ = ["claim_or_wait"]

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.5


async def claim_or_wait(operation: Operation, wait: float) -> tuple[Claim, float]:
    """Bid until no other caller is inside, for at most ``wait`` seconds.

    Returns:
        A claim that is FRESH or done, and the monotonic time at which it was asked for.

    Raises:
        InProgress: Another caller is still inside.
        IdempotencyMismatch: The key came before with another fingerprint.
        StoreError: The store did not answer; nothing may run.
    """
    ends_at = monotonic() + wait
    pause = FIRST_PAUSE
    while True:
        claim, sent = await operation.bid()
        left = ends_at - monotonic()
        if claim.outcome is not Outcome.IN_FLIGHT or left <= 0:
            break
        await asyncio.sleep(min(pause, left))
        pause = min(2 * pause, LONGEST_PAUSE)
    if not claim.fresh:
        operation.skip(claim)
    if claim.outcome is Outcome.MISMATCH:
        raise IdempotencyMismatch(operation.event.id)
    if claim.outcome is Outcome.IN_FLIGHT:
        raise InProgress(operation.event.id, claim.remaining)
    return claim, sent
