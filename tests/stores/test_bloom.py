import pytest
from webhook_dedup.stores.bloom import BloomStore
from webhook_dedup.stores.memory import MemoryStore
from webhook_dedup.testing import FakeClock, StoreContract


class _Clocked(StoreContract):
    async def elapse(self, seconds):
        self.clock.advance(seconds)

    def now(self):
        return self.clock.time()


class TestBloomStore(_Clocked):
    ttl_slack = _Clocked.ttl / 4

    @pytest.fixture
    def store(self):
        self.clock = FakeClock()
        return BloomStore(clock=self.clock)


class TestConfirmedBloomStore(_Clocked):
    @pytest.fixture
    def store(self):
        self.clock = FakeClock()
        return BloomStore(clock=self.clock, confirm=MemoryStore(clock=self.clock))
