"""One request and everything its answer needs."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from ..dedup import Dedup
from ..errors import RejectedDelivery, StoreError
from ..model import Claim, Outcome
from ..observe.record import Kind, about
from ..policy import Policy
from ..providers import Preset
from ..routes import Route
from ..runner import Job, bid_for
from .types import ASGIApp, Receive, Scope, Send

__all__ = ["Exchange"]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request of one source.

    Attributes:
        dedup: What the middleware was mounted with, started.
        app: The app that handles events.
        route: The source the request belongs to, and the policy in force.
        scope, receive, send: The request.
    """

    dedup: Dedup
    app: ASGIApp
    route: Route
    scope: Scope
    receive: Receive
    send: Send

    @property
    def preset(self) -> Preset:
        """The provider's row."""
        return self.route.source.preset

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self.route.policy

    def refuses(self, claim: Claim) -> bool:
        """Whether a known id with another body is an error here."""
        return claim.outcome is Outcome.MISMATCH and self.policy.on_mismatch == "reject"

    async def claim(self, job: Job, row: str) -> tuple[Claim | None, float]:
        """Claim the event of a job before its delivery is answered.

        Returns:
            The claim and the monotonic time at which it was asked for. There is none when the
            event has no key, or when the store is away and the policy does not reject that.

        Raises:
            RejectedDelivery: The store is away, or the id came with another body, and the policy
                rejects that.
        """
        sent = monotonic()
        if job.event.key is None:
            return None, sent
        try:
            claim, sent = await self.dedup.engine.claim(bid_for(job, row))
        except StoreError as exc:
            self.dedup.record(about(Kind.STORE_ERROR, job.event, detail=str(exc)))
            if self.rejects_store_error:
                raise RejectedDelivery(
                    503, "store_unavailable", "events cannot be claimed now", retry_after=5.0
                ) from exc
            return None, sent
        if self.refuses(claim):
            raise RejectedDelivery(
                409, "body_changed", "this event id came before with another body"
            )
        return claim, sent

    @property
    def rejects_store_error(self) -> bool:
        """Whether a delivery is refused while the store is away.

        With ``ack="handled"`` no inbox keeps it, so there is nothing to defer to.
        """
        choice = self.policy.on_store_error
        deferrable = self.route.source.ack != "handled"
        return choice == "reject" or (choice == "defer" and not deferrable)
