import pytest
from webhook_dedup.stores.bloom import BloomStore
from webhook_dedup.stores.memory import MemoryStore
from webhook_dedup.stores.seen import SeenCache
from webhook_dedup.testing import FakeClock, StoreContract


class _Clocked(StoreContract):
    async def elapse(self, seconds):
        self.clock.advance(seconds)

    def now(self):
        return self.clock.time()


class TestSeenCache(_Clocked):
    @pytest.fixture
    def store(self):
        self.clock = FakeClock()
        return SeenCache(MemoryStore(clock=self.clock), clock=self.clock)
