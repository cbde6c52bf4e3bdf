"""An inbox whose rows can be made unreadable."""

import logging

from webhook_dedup.inbox.memory import MemoryInbox
from webhook_dedup.model import Attempt

__all__ = ["SpoilableInbox"]


class SpoilableInbox(MemoryInbox):
    """Sets aside the rows that a test has spoilt."""

    def __init__(self, **options):
        super().__init__(**options)
        self.spoilt = set()

    async def take(self, limit, lease, *, sources=None):
        taken = await super().take(limit, lease, sources=sources)
        for item in taken:
            if item.id in self.spoilt:
                await self.set_aside(item)
        return [item for item in taken if item.id not in self.spoilt]

    async def set_aside(self, item):
        logging.getLogger("webhook_dedup").error("row %s cannot be read", item.id)
        await self.bury(item, Attempt(self._clock.time(), "", 0.0, "unreadable"))
