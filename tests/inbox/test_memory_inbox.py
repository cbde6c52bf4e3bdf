"""The memory inbox: the contract, and what only it promises."""

import pytest

from webhook_dedup.inbox.volatile import MemoryInbox
from webhook_dedup.testing import FakeClock, InboxContract


class TestMemoryInbox(InboxContract):
    @pytest.fixture
    async def inbox(self):
        self.clock = FakeClock()
        inbox = MemoryInbox(clock=self.clock)
        yield inbox
        await inbox.aclose()

    async def elapse(self, seconds):
        self.clock.advance(seconds)

    def now(self):
        return self.clock.time()


class TestMemoryInboxOnTheSystemClock(InboxContract):
    @pytest.fixture
    async def inbox(self):
        inbox = MemoryInbox()
        yield inbox
        await inbox.aclose()
