"""One piece of work under a key of the user's own: claimed, run, settled, recorded."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from .dedup import Dedup
from .errors import ConfigError, InProgress, LeaseLost, StoreError
from .model import Bid, Claim, Event, Key, Outcome, new_token
from .observe.record import Kind, skip
from .policy import SETTLE_PATIENCE
from .unconfirmed import UNCONFIRMED
from .verdict import Verdict, judge

__all__ = ["Operation", "event_for", "key_text"]

T = TypeVar("T")


def key_text(key: object, user: str) -> str:
    """Return a key of the user's own as text.

    Raises:
        ConfigError: It is neither text nor an integer, or it is blank.
    """
    if not isinstance(key, (str, int)) or isinstance(key, bool) or not str(key).strip():
        raise ConfigError(
            f"{user} needs a key that is text or an integer and not blank, got {key!a}; build it "
            "from business facts, for example f'order-{order.id}-confirmation'"
        )
    return str(key)


def event_for(scope: str, key: object) -> Event:
    """Make the event that work under a key stands for.

    Raises:
        ConfigError: The key is neither text nor an integer, or it is blank.
    """
    text = key_text(key, scope)
    return Event(key=Key(scope, text), source=scope, id=text)


@dataclass(frozen=True, slots=True)
class Operation:
    """Work to be done once.

    Attributes:
        dedup: Where its key is claimed, started.
        event: What its records name.
        lease: Seconds the claim lives if its holder goes silent.
        ttl: Seconds it is remembered once done.
    """

    dedup: Dedup
    event: Event
    lease: float
    ttl: float

    async def bid(self) -> tuple[Claim, float]:
        """Bid for the key. Return the answer and the monotonic time at which it was asked for.

        Raises:
            StoreError: The store did not answer; nothing may run.
        """
        bid = Bid(str(self.event.key), new_token(), self.lease, self.event.fingerprint)
        try:
            claim, sent = await self.dedup.engine.claim(bid)
        except StoreError as exc:
            self.tell(Kind.STORE_ERROR, detail=str(exc))
            raise
        if claim.fresh:
            self.tell(Kind.STARTED)
        return claim, sent

    async def claim(self) -> tuple[Claim, float]:
        """Bid for the key. The answer is FRESH, or it is done.

        Raises:
            InProgress: Another holder has it.
            StoreError: The store did not answer; nothing may run.
        """
        claim, sent = await self.bid()
        if not claim.fresh:
            self.skip(claim)
            if not claim.done:
                raise InProgress(self.event.id, claim.remaining)
        return claim, sent

    async def run(
        self,
        work: Callable[[], Awaitable[T]],
        claim: Claim,
        sent: float,
        result: Callable[[T], bytes | None] = lambda _: None,
    ) -> T:
        """Run ``work`` under a fresh claim; return what it returns, raise what it raises.

        Args:
            work: Called once, cancelled when the claim is lost.
            claim: The fresh claim.
            sent: When it was asked for.
            result: Makes what later callers are given of what ``work`` returned. When it raises,
                the work counts as failed.
        """

        async def worked() -> tuple[T, bytes | None]:
            value = await work()
            return value, result(value)

        run = await self.dedup.engine.run(worked, claim, lease=self.lease, sent=sent)
        kept = run.value[1] if run.error is None else None
        await self.settle(claim, run.error, kept, duration=run.duration)
        if run.cancelled:
            raise asyncio.CancelledError
        if run.error is not None:
            raise run.error
        value: T = run.value[0]
        return value

    async def settle(
        self,
        claim: Claim,
        error: BaseException | None,
        result: bytes | None = None,
        **fields: Any,
    ) -> bool:
        """Complete the claim or release it, by what ended the work, and record which.

        What the store does not confirm in time is recorded when it does.

        Returns:
            False when another caller has the key.
        """
        lost = isinstance(error, LeaseLost)
        return await self.end(claim, judge(error), result, lost=lost, **fields)

    async def end(
        self,
        claim: Claim,
        verdict: Verdict,
        result: bytes | None = None,
        *,
        lost: bool,
        **fields: Any,
    ) -> bool:
        """Complete the claim or release it, by a verdict; see :meth:`settle`.

        Args:
            claim: The claim under which the work ran.
            verdict: How that ended.
            result: What later callers are given.
            lost: Whether it ended because a lease was lost.
            fields: What else the record tells.
        """
        engine = self.dedup.engine
        if not verdict.done:
            try:
                # If it was lost, its token is refused; what was lost may be another claim, within.
                await engine.release(self.event, claim)
            finally:  # a caller that is cancelled meanwhile leaves the release to the engine
                self.tell_end(verdict, fields, not lost)
            return not lost
        told = functools.partial(self.tell_end, verdict, fields)
        completed = await engine.complete(
            self.event,
            claim,
            self.ttl,
            result,
            patience=SETTLE_PATIENCE,
            lease=self.lease,
            later=told,
        )
        if completed is None:
            self.tell(Kind.STORE_ERROR, detail=UNCONFIRMED, warning=True)
        else:
            told(completed)
        return completed is not False

    def tell_end(self, verdict: Verdict, fields: dict[str, Any], settled: bool | None) -> None:
        """Record how the work ended; ``settled`` is False when another caller has the key."""
        if settled is None:  # the engine has recorded that the store was away to the end
            return
        kind = verdict.kind if settled else Kind.LEASE_LOST
        detail = verdict.detail or (None if settled else "another caller has the key now")
        self.tell(kind, reason=verdict.reason, detail=detail, **fields)

    def skip(self, claim: Claim) -> None:
        """Record that nothing runs because of an earlier claim."""
        misused = claim.outcome is Outcome.MISMATCH  # the key of another request: a caller's fault
        self.dedup.record(skip(Kind.SKIPPED, self.event, claim, warning=misused))

    def tell(self, kind: Kind, **fields: Any) -> None:
        """Record something about this operation."""
        self.dedup.record.about(kind, self.event, **fields)
