"""One request and everything its answer needs."""

from __future__ import annotations

from msgspec import Struct

from ..dedup import Dedup
from ..errors import RejectedDelivery, StoreError
from ..holding import Holding
from ..model import Claim, Outcome
from ..observe.record import Kind
from ..policy import RETRY_AFTER
from ..providers import Preset
from ..routes import Route
from ..standing import Job, Standing, claim_events
from .types import ASGIApp, Receive, Scope, Send

__all__ = ["Exchange"]


class Exchange(Struct):
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

    def refuses(self, claim: Claim) -> bool:
        """Whether a known id with another body is an error here."""
        return claim.outcome is Outcome.MISMATCH and self.route.policy.on_mismatch == "reject"

    async def claim(self, job: Job, row: str) -> Standing | None:
        """Claim the events of a job before its delivery is answered.

        Returns:
            ``None`` when the store is away and the policy does not reject that.

        Raises:
            RejectedDelivery: The store is away, or an id came with another body, and the policy
                rejects that.
        """
        try:
            standing = await claim_events(self.dedup.engine, job, row)
        except StoreError as exc:
            self.dedup.record.about(Kind.STORE_ERROR, job.event, detail=str(exc))
            if self.rejects_store_error:
                raise RejectedDelivery(
                    503,
                    "store_unavailable",
                    "events cannot be claimed now",
                    retry_after=RETRY_AFTER,
                ) from exc
            return None
        if self.route.policy.on_mismatch == "reject" and any(
            claim is not None and self.refuses(claim) for _, claim in standing.answers
        ):
            await self.holding(job, standing).release()
            raise RejectedDelivery(
                409, "body_changed", "this event id came before with another body"
            )
        return standing

    def holding(self, job: Job, standing: Standing) -> Holding:
        """Return the claims that were granted."""
        return Holding(self.dedup.engine, self.dedup.record, job, standing)

    @property
    def rejects_store_error(self) -> bool:
        """Whether a delivery is refused while the store is away.

        With ``ack="handled"`` no inbox keeps it, so there is nothing to defer to.
        """
        choice = self.route.policy.on_store_error
        deferrable = self.route.source.ack != "handled"
        return choice == "reject" or (choice == "defer" and not deferrable)
