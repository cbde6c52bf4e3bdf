"""A check of the surroundings that many callers wait for and that is made once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ...errors import ConfigError, StoreError, StoreUnavailable

__all__ = ["Start"]


class Start:
    """Runs a check until it has succeeded once.

    Args:
        check: Made anew for the next caller when it failed.
    """

    __slots__ = ("_check", "_done", "_under_way")

    def __init__(self, check: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._check = check
        self._under_way: asyncio.Task[None] | None = None
        self._done = False

    async def ready(self) -> None:
        """Return when the check has succeeded, or raise what it raised."""
        if self._done:
            return
        if self._under_way is None or self._under_way.get_loop().is_closed():
            self._under_way = asyncio.ensure_future(self._check())
            self._under_way.add_done_callback(self._note)
        # Shielded: a cancelled caller does not fail the others who wait for the same check.
        await asyncio.shield(self._under_way)

    async def demand(self) -> None:
        """As :meth:`ready`, on a person's order: what only he can mend is a ``ConfigError``."""
        try:
            await self.ready()
        except StoreUnavailable:
            raise
        except StoreError as error:
            raise ConfigError(str(error)) from error

    def _note(self, check: asyncio.Task[None]) -> None:
        self._under_way = None
        self._done = not check.cancelled() and check.exception() is None
