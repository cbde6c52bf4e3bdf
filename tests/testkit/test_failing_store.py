"""The store that fails on command fails as it is told, and is a store else."""

import pytest

from tests.asgi.kit import Handler, deliver, mounted, settled
from tests.clocked import Clocked
from webhook_dedup import ConfigError, StoreUnavailable
from webhook_dedup.contracts import Forgetful, Inspector
from webhook_dedup.model import Bid, Settlement
from webhook_dedup.stores import MemoryStore
from webhook_dedup.testing import FailingStore, FakeClock, StoreContract


class TestFailingStore(Clocked, StoreContract):
    """Untold to fail it is a store like any other."""

    @pytest.fixture
    def store(self):
        self.clock = FakeClock()
        return FailingStore(MemoryStore(clock=self.clock))


@pytest.fixture
def bid():
    return Bid("a key", "a token", 60)


async def test_away(failing_store, bid):
    """A verb that is away does nothing, as often as it was told."""
    failing_store.away("claim", times=2)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="away for claim"):
            await failing_store.claim([bid])
    assert len(failing_store.store) == 0
    assert (await failing_store.claim([bid]))[0].fresh
    assert failing_store.calls == ["claim"] * 3


async def test_lost_replies(failing_store, bid):
    """A reply that is lost was sent after the work; asking again has the same answer."""
    failing_store.lose_replies("claim", "complete", times=1)
    with pytest.raises(StoreUnavailable, match="lose the answer"):
        await failing_store.claim([bid])
    (claim,) = await failing_store.claim([bid])
    assert claim.fresh
    with pytest.raises(StoreUnavailable):
        await failing_store.complete([Settlement(claim, 60)])
    assert await failing_store.complete([Settlement(claim, 60)]) == [True]


async def test_back(failing_store, bid):
    """All verbs are away until it is back."""
    failing_store.away()
    failing_store.slow("renew", 3600)
    with pytest.raises(StoreUnavailable):
        await failing_store.start()
    failing_store.back()
    await failing_store.start()
    (claim,) = await failing_store.claim([bid])
    assert await failing_store.renew([claim], 60) == [True]


def test_unknown_verbs(failing_store):
    """A verb that no store has is a mistake."""
    with pytest.raises(ConfigError, match="verb must be one of"):
        failing_store.away("clam")


def test_it_has_the_powers_of_its_store(failing_store):
    """What the store behind it can do beside the verbs can still be done."""
    assert callable(failing_store.forget)
    assert callable(failing_store.look)
    assert isinstance(failing_store.store, (Forgetful, Inspector))


async def test_an_app_survives_it():
    """An app whose store loses answers still runs each event once."""
    store = FailingStore()
    handler = Handler()
    async with mounted(handler, store=store) as (app, _):
        store.lose_replies("complete", times=2)
        assert (await deliver(app)).status == 200
        await settled(app)
    assert len(handler.runs) == 1
