"""At most so many sends per subject in a window of time."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from ..contracts import Forgetful, Store
from ..errors import ConfigError, Locked, MissingPower, OverBudget
from ..model import Claim, Event
from ..observe.record import Kind, Reason
from ..policy import SETTLE_PATIENCE, Duration, seconds
from ..run import Run
from ..threads import call
from ..verdict import Ending, judge
from .passage import Passage
from .subject import Subject, Subjects

__all__ = ["Budget"]

Escalate = Callable[[Event, Any], Awaitable[object] | object]

MOST_SENDS = 100  # each is a claim that may have to be asked for


class Budget:
    """Lets at most so many events of a subject be handled in any window of time.

    It is made of one claim for each send, whose TTL is the window: an exact sliding window over all
    processes. A handler that fails frees its claim, so only what succeeded counts. When the budget
    is spent the event becomes a dead letter, for a person to replay, and ``escalate`` is called
    once a window. Events without a subject share one budget.

    Args:
        sends: How many, 1 to 100.
        window: In how long a time.
        subject: JMESPath into the event's JSON, or a function of the event and its JSON; the
            subject that the preset knows by default.
        name: Who shares the budget: events of one source or function by default. Give sources that
            speak of the same threads one name, and two budgets of one list names of their own.
        escalate: Takes the event and its JSON when the budget is found spent. A plain ``def`` runs
            in a thread. If it raises, it is called again with the next event.
        lease: How long a send that is under way counts if its process goes silent.

    Raises:
        ConfigError: Something does not fit; the message says what to write instead.
    """

    def __init__(
        self,
        sends: int,
        window: Duration,
        *,
        subject: Subject | None = None,
        name: str | None = None,
        escalate: Escalate | None = None,
        lease: Duration = 30.0,
    ) -> None:
        if type(sends) is not int or not 1 <= sends <= MOST_SENDS:
            raise ConfigError(
                f"a budget allows 1 to {MOST_SENDS} sends in its window, got {sends!r}; to stop an "
                "agent altogether, do not mount it"
            )
        if escalate is not None and not callable(escalate):
            raise ConfigError(f"escalate takes a function of event and data, got {escalate!r}")
        self._sends = sends
        self._window = seconds(window, "window")
        self._subjects = Subjects("budget", subject, name)
        self.shares = self._subjects.shares
        self._escalate = escalate
        self._lease = seconds(lease, "lease")

    async def run(self, passage: Passage, proceed: Callable[[], Awaitable[Any]]) -> Any:
        claim, sent = await self._take(passage)
        settle = functools.partial(self._settle, passage, claim)
        return await passage.under(claim, proceed, settle, lease=self._lease, sent=sent)

    async def reset(
        self, store: Store, subject: str, *, source: str = "", tenant: str = ""
    ) -> bool:
        """Give a subject its whole budget back, on a person's order.

        Args:
            store: Where the claims are; ``dedup.store``.
            subject: What was over its budget.
            source: Name of the source or function, unless the budget has a name.
            tenant: The tenant of the events, if the source has tenants.

        Returns:
            Whether anything of the budget was spent.

        Raises:
            MissingPower: The store cannot forget single keys.
        """
        if not isinstance(store, Forgetful):
            raise MissingPower(f"{store.name} cannot forget single keys, so no budget can be reset")
        names = (*range(self._sends), "escalated")
        keys = [self._subjects.key_of(subject, source, name, tenant=tenant) for name in names]
        return any([await store.forget(str(key)) for key in keys])

    async def _take(self, passage: Passage) -> tuple[Claim, float]:
        """Claim a send that is free."""
        # By the cache alone it is not spent: another process may have been told to reset it.
        taken = await self._first_free(passage) or await self._first_free(passage, anew=True)
        if taken is not None:
            return taken
        await self._tell(passage)
        raise OverBudget(f"{self._sends} sends were made in {self._window:g} s")

    async def _first_free(
        self, passage: Passage, *, anew: bool = False
    ) -> tuple[Claim, float] | None:
        under_way: Claim | None = None
        for number in range(self._sends):
            key = self._subjects.key(passage, number)
            claim, sent = await passage.bid(key, self._lease, anew=anew)
            if claim.fresh:
                return claim, sent
            if not claim.done:
                under_way = claim
        if under_way is not None:  # it may yet fail, and then there is room
            raise Locked(under_way.key, min(under_way.remaining, 1.0))
        return None

    async def _settle(self, passage: Passage, claim: Claim, run: Run) -> None:
        sent = run.error is None and judge(None, passage.status_of(run.value)).ending is Ending.DONE
        if sent:
            await self._count(passage, claim)
        else:
            await passage.engine.release(passage.event, claim)

    async def _tell(self, passage: Passage) -> None:
        """Escalate once a window."""
        key = self._subjects.key(passage, "escalated")
        claim, _ = await passage.bid(key, self._lease, anew=True)
        if not claim.fresh:
            return
        reason, event = Reason.OVER_BUDGET.value, passage.event
        try:
            if self._escalate is not None:
                await call(self._escalate, event, passage.data)
        except Exception as exc:  # noqa: BLE001 - a foreign hook, and the event is set aside anyway
            await passage.engine.release(event, claim)
            failed = "the escalation failed; the next event tries again"
            passage.record.about(Kind.FAILED, event, reason=reason, detail=failed, error=exc)
            return
        passage.record.about(Kind.ESCALATED, event, reason=reason, warning=True)
        await self._count(passage, claim)

    async def _count(self, passage: Passage, claim: Claim) -> None:
        """Have a claim count for a window."""
        await passage.engine.complete(
            passage.event, claim, self._window, patience=SETTLE_PATIENCE, lease=self._lease
        )
