"""The check against ground truth."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ..errors import ConfigError, Skipped
from ..model import Event
from ..observe.record import Reason
from ..threads import call
from .passage import Passage

__all__ = ["Check"]


class Check:
    """Asks the user's own system whether an event's work is there already.

    Put it after :class:`OneAtATime`, so that nobody can do the work between question and answer.

    Args:
        already_done: Takes the event and its JSON; true means that there is nothing to run. A plain
            ``def`` runs in a thread. What it raises fails the event, which is run again later.

    Raises:
        ConfigError: It is no function.
    """

    def __init__(self, already_done: Callable[[Event, Any], Awaitable[bool] | bool]) -> None:
        if not callable(already_done):
            raise ConfigError(f"Check takes a function of event and data, got {already_done!r}")
        self._already_done = already_done

    async def run(self, passage: Passage, proceed: Callable[[], Awaitable[Any]]) -> Any:
        if await call(self._already_done, passage.event, passage.data):
            raise Skipped(Reason.ALREADY_DONE.value, "its work was found done")
        return await proceed()
