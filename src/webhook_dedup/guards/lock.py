"""One event of a subject at a time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Literal

from ..errors import ConfigError, Locked, Skipped
from ..model import Claim
from ..observe.record import Reason
from ..policy import Duration, check_choice, seconds
from ..run import Run
from .passage import Passage
from .subject import Subject, Subjects

__all__ = ["OneAtATime"]

Busy = Literal["retry", "skip"]

SHORTEST_LEASE = 0.1
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5


class OneAtATime:
    """Keeps two events of one subject, a thread or a customer, from being handled together.

    The lock is a claim like any other: it is renewed while the handler runs, and a crash frees it
    when its lease ends. An event without a subject passes. No order is promised.

    Args:
        subject: JMESPath into the event's JSON, or a function of the event and its JSON; the
            subject that the preset knows by default.
        name: Who shares the lock: events of one source or function by default. Give sources that
            speak of the same threads one name, and two locks of one list names of their own.
        wait: How long a second event waits here for the first to end. It must be shorter than the
            policy's ``handler_timeout``, which counts it, too.
        busy: What becomes of it then: it is run again later, uncounted (``"retry"``), or it is
            recorded as skipped and done (``"skip"``).
        retry_after: After how long it is run again.
        lease: How long the lock lives if its holder goes silent.

    Attributes:
        needs_subject: Whether it relies on the subject that the preset knows.
        shares: As of :class:`Subjects`.
        longest_wait: Seconds of ``wait``.

    Raises:
        ConfigError: Something does not fit; the message says what to write instead.
    """

    def __init__(
        self,
        subject: Subject | None = None,
        *,
        name: str | None = None,
        wait: Duration = 0.0,
        busy: Busy = "retry",
        retry_after: Duration = 1.0,
        lease: Duration = 30.0,
    ) -> None:
        check_choice(busy, Busy, "busy")
        self._subjects = Subjects("lock", subject, name)
        self.shares = self._subjects.shares
        self.needs_subject = subject is None
        self.longest_wait = seconds(wait, "wait", zero=True)
        self._busy = busy
        self._retry_after = seconds(retry_after, "retry_after")
        self._lease = seconds(lease, "lease")
        if self._lease < SHORTEST_LEASE:
            raise ConfigError(
                f"lease of a lock must be at least {SHORTEST_LEASE} s, or it cannot be renewed in "
                f"time; got {lease!r}. The handler's length does not matter: write lease=30"
            )

    async def run(self, passage: Passage, proceed: Callable[[], Awaitable[Any]]) -> Any:
        if self._subjects.of(passage) is None:
            return await proceed()
        claim, sent = await self._acquire(passage)

        async def settle(_: Run) -> None:
            await passage.engine.release(passage.event, claim)

        return await passage.under(claim, proceed, settle, lease=self._lease, sent=sent)

    async def _acquire(self, passage: Passage) -> tuple[Claim, float]:
        key = self._subjects.key(passage)
        give_up_at = monotonic() + self.longest_wait
        pause = _FIRST_PAUSE
        while True:
            claim, sent = await passage.bid(key, self._lease)
            if claim.fresh:
                return claim, sent
            left = give_up_at - monotonic()
            if left <= 0:
                raise self._refusal(claim)
            # At random, so that those who wait do not ask in step.
            await asyncio.sleep(min(pause * (0.5 + random.random()), left))  # noqa: S311 - no secret
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _refusal(self, claim: Claim) -> Exception:
        if self._busy == "skip":
            return Skipped(Reason.LOCKED.value, "another event of its subject is being handled")
        return Locked(claim.key, self._retry_after)
