"""The memory store."""

import pytest

from webhook_dedup.stores.memory import MemoryStore
from webhook_dedup.testing import FakeClock, StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    async def store(self):
        self.clock = FakeClock()
        store = MemoryStore(clock=self.clock)
        yield store
        await store.aclose()

    async def elapse(self, seconds):
        self.clock.advance(seconds)

    def now(self):
        return self.clock.time()
