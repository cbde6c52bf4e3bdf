"""An event on its way through the guards to its handler."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..contracts import PureGuard, StatefulGuard
from ..engine import Engine
from ..errors import ConfigError
from ..model import Bid, Claim, Event, Key, new_token
from ..observe.recorder import Recorder
from ..run import Run
from ..threads import outlast

__all__ = ["Guard", "Guards", "Passage"]

Guard = PureGuard | StatefulGuard
Work = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Passage:
    """One event that passes its guards.

    Attributes:
        event: The event; its claim is held.
        data: Its JSON, ``None`` where it has none.
        engine: Makes and settles the guards' own claims.
        record: Takes the guards' records.
        status_of: Finds the HTTP status in what the handler returned; ``None`` where it has none.
    """

    event: Event
    data: Any
    engine: Engine
    record: Recorder
    status_of: Callable[[Any], int | None]

    async def bid(self, key: Key, lease: float, *, anew: bool = False) -> tuple[Claim, float]:
        """Bid for a key of a guard's own; see :meth:`Engine.claim`.

        With ``anew`` the store itself answers, no cache.
        """
        claim = self.engine.claim_anew if anew else self.engine.claim
        return await claim(Bid(str(key), new_token(), lease))

    async def under(
        self,
        claim: Claim,
        proceed: Work,
        settle: Callable[[Run], Awaitable[None]],
        *,
        lease: float,
        sent: float,
    ) -> Any:
        """Run what follows under a guard's own claim, settle that, return or raise what came of it.

        A cancellation that did not stop the handler does not hide its success, or the event would
        be run again: the run around this one knows of it.
        """
        run = await self.engine.run(proceed, claim, lease=lease, sent=sent)
        settling = asyncio.ensure_future(settle(run))
        await outlast(settling)
        settling.result()
        if run.error is not None:
            raise run.error
        return run.value


class Guards:
    """The guards of one source or function, in the order they were given.

    Pure guards come first whatever the order: they decide before anything is written.

    Raises:
        ConfigError: Something given is no guard, or two of them would claim the same keys.
    """

    def __init__(self, guards: Iterable[Guard]) -> None:
        if not isinstance(guards, Iterable):
            raise ConfigError(f"guards must be a list of guards, got {guards!r}")
        given = tuple(guards)
        for guard in given:
            if isinstance(guard, type) or not isinstance(guard, (PureGuard, StatefulGuard)):
                raise ConfigError(
                    f"guards take objects such as SelfSent(…), Rules(…), OneAtATime(), Check(…) "
                    f"or Budget(…), got {guard!r}"
                )
        self.pure: Sequence[PureGuard] = [each for each in given if isinstance(each, PureGuard)]
        self.stateful: Sequence[StatefulGuard] = [
            each for each in given if isinstance(each, StatefulGuard)
        ]
        self._keep_apart()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.pure or self.stateful)

    def _keep_apart(self) -> None:
        keys = [getattr(guard, "shares", object()) for guard in self.stateful]
        if len(set(keys)) < len(keys):
            raise ConfigError(
                "two locks or two budgets of one list have the same keys: the second would be held "
                "up or used up by the first; give each a name of its own, such as "
                "Budget(20, 86_400, name='daily')"
            )

    def skips(self, event: Event, data: Any) -> tuple[str, str] | None:
        """Return the first reason and sentence by which an event is not to be run."""
        for guard in self.pure:
            skip = guard.skips(event, data)
            if skip is not None:
                return skip
        return None

    def need_subject(self, what: str) -> None:
        """Refuse guards that tell events apart by a subject which events of ``what`` never have.

        Raises:
            ConfigError: There is such a guard.
        """
        for guard in self.stateful:
            if getattr(guard, "needs_subject", False):
                raise ConfigError(
                    f"{type(guard).__name__}() would never act: events of {what} have no subject; "
                    "write subject='data.thread_id', a JMESPath into their JSON, or a function"
                )

    def must_fit(self, timeout: float | None) -> None:
        """Refuse locks that wait for so long that the handler's time is up before it begins.

        Raises:
            ConfigError: There are such locks.
        """
        wait = sum(getattr(guard, "longest_wait", 0.0) for guard in self.stateful)
        if timeout is not None and wait >= timeout:
            raise ConfigError(
                f"OneAtATime(wait={wait:g}) waits for as long as handler_timeout={timeout:g} lets "
                "an event run in all: one that has to wait would fail before its handler begins; "
                "write a shorter wait, or a longer handler_timeout"
            )

    def around(self, passage: Passage, work: Work) -> Work:
        """Return ``work`` within the stateful guards, the first of them outermost."""
        for guard in reversed(self.stateful):
            work = functools.partial(guard.run, passage, work)
        return work
