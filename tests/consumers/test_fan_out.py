"""Several consumers of one event: one that fails is retried without the others."""

import asyncio

import pytest

from tests.every_store import a_redis, fresh_key, store_url
from webhook_dedup import (
    AlreadyDone,
    ConfigError,
    Dedup,
    Discard,
    Event,
    InProgress,
    Retry,
    fan_out,
)
from webhook_dedup.model import Key
from webhook_dedup.stores import MemoryStore

__all__ = ["a_redis", "fresh_key", "store_url"]


@pytest.fixture
async def dedup(store_url):
    async with Dedup(MemoryStore() if store_url == "memory://" else store_url) as dedup:
        yield dedup


@pytest.fixture
def event(fresh_key):
    return Event(Key("webhook:shop", fresh_key, "acme"), "shop", fresh_key)


class Ledger(list):
    """Consumers that note their runs; those whose names are in ``broken`` fail."""

    def __init__(self):
        self.broken = set()

    def consumers(self, *names):
        return {name: lambda event, name=name: self._consume(name) for name in names}

    async def _consume(self, name):
        await asyncio.sleep(0.01)
        if name in self.broken:
            raise ValueError(f"{name} is broken")
        self.append(name)


async def test_only_what_failed_runs_again(dedup, event):
    """A delivery that comes again runs the consumer that failed and no other."""
    ledger = Ledger()
    ledger.broken = {"mail"}
    named = ledger.consumers("book", "mail", "count")
    for _ in range(2):
        with pytest.raises(Retry, match="1 of 3 consumers failed: mail") as retry:
            await fan_out(dedup, event, named=named)
        assert isinstance(retry.value.__cause__, ValueError)
        assert sorted(ledger) == ["book", "count"]
    ledger.broken = set()
    for _ in range(2):
        await fan_out(dedup, event, named=named)
        assert sorted(ledger) == ["book", "count", "mail"]


@pytest.mark.parametrize(
    ("errors", "after"),
    [
        ([Retry("later", after=600)], 600),
        ([Retry("later", after=60), Retry("much later", after=600), ValueError("broken")], 600),
        ([Retry("at once", after=0), Retry("some time")], 0),
        ([Retry("some time"), ValueError("broken")], None),
    ],
)
async def test_time_that_a_consumer_asks_for_is_kept(dedup, event, errors, after):
    """Who is told by an API to come again in ten minutes is not run again in a second."""

    def failing(error):
        async def consume(event):
            raise error

        return consume

    named = {f"consumer {number}": failing(error) for number, error in enumerate(errors)}
    with pytest.raises(Retry, match=f"{len(errors)} of {len(errors)} consumers failed") as retry:
        await fan_out(dedup, event, named=named)
    assert retry.value.after == after


async def test_copies_at_once(dedup, event):
    """Of five copies at once each consumer runs once; who meets another inside waits."""
    ledger = Ledger()
    named = ledger.consumers("book", "mail")
    copies = (fan_out(dedup, event, named=named) for _ in range(5))
    ends = await asyncio.gather(*copies, return_exceptions=True)
    assert sorted(ledger) == ["book", "mail"]
    assert {type(end) for end in ends} <= {type(None), InProgress}
    await fan_out(dedup, event, named=named)
    assert sorted(ledger) == ["book", "mail"]


async def test_events_tenants_and_sources_are_apart(dedup, fresh_key):
    """The same consumer runs for every event, tenant and source."""
    ledger = Ledger()
    keys = [("shop", "1", ""), ("shop", "2", ""), ("shop", "1", "acme"), ("other", "1", "")]
    for source, number, tenant in keys * 2:
        event_id = f"{fresh_key}-{number}"
        event = Event(Key(f"webhook:{source}", event_id, tenant), source, event_id)
        await fan_out(dedup, event, named=ledger.consumers("book"))
    assert len(ledger) == 4


def blocking(event):
    seen.append(event.id)


async def discarding(event):
    seen.append(event.id)
    raise Discard("not for me")


seen: list[str] = []


async def test_functions_by_their_names(dedup, event):
    """Functions are known by their names; blocking ones run in threads; Discard is done."""
    seen.clear()
    for _ in range(2):
        await fan_out(dedup, event, blocking, discarding)
    assert seen == [event.id, event.id]


async def test_already_done_is_done(dedup, event):
    """A consumer whose work is found done, as by ``claim_in``, is neither retried nor run again."""
    runs = []

    async def booked(event):
        runs.append(event.id)
        raise AlreadyDone(event.id)

    for _ in range(2):
        await fan_out(dedup, event, named={"book": booked})
    assert runs == [event.id]


async def test_unclear_names_are_refused(event):
    """What could pass for another consumer is refused before anything runs."""
    for consumers, named in [
        ((blocking, blocking), {}),
        ((lambda event: None,), {}),
        ((blocking,), {f"{__name__}.blocking": discarding}),
    ]:
        with pytest.raises(ConfigError, match="named="):
            await fan_out("memory://", event, *consumers, named=named)
    with pytest.raises(ConfigError, match="without an id"):
        await fan_out("memory://", Event(None, "shop", "1"), blocking)
