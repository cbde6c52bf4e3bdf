"""A Redis Cluster whose slots move from node to node while they are used."""

import asyncio
import random
from collections import Counter

import pytest
from redis.asyncio.cluster import ClusterNode

from webhook_dedup.errors import StoreUnavailable
from webhook_dedup.inbox.redis import RedisInbox
from webhook_dedup.model import Bid, Outcome, Settlement, new_token
from webhook_dedup.stores.redis import RedisStore
from webhook_dedup.stores.redis.values import redis_key
from webhook_dedup.testing.inbox_rules.case import an_item
from webhook_dedup.testing.store_rules.case import LONG_LEASE, LONG_TTL, a_key

PREFIX = "webhook_dedup:"
SLOTS, KEYS, TASKS = 10, 30, 20


@pytest.fixture
def cluster(redis_cluster):
    return redis_cluster


@pytest.fixture
def url(cluster):
    return cluster.url.replace("redis:", "redis+cluster:")


async def repeated(verb, *arguments):
    """Ask until there is an answer, as the engine does; any other error fails the test."""
    while True:
        try:
            return await verb(*arguments)
        except StoreUnavailable:
            await asyncio.sleep(0.01)


async def test_claims_go_on(cluster, url):
    """Every key is granted once and settled by its holder, wherever it is by then."""
    keys = [f"{{{a_key()}}}{number}" for number in range(SLOTS)]
    slots = {cluster.slot_of(redis_key(PREFIX, key)) for key in keys}
    keys = [f"{key}:{number}" for key in keys for number in range(KEYS)]
    stores = [RedisStore.from_url(url) for _ in range(2)]
    granted, settled, moved = Counter(), Counter(), asyncio.Event()

    async def work(store):
        while True:
            last = moved.is_set()
            for start in random.sample(range(0, len(keys), 3), len(keys) // 3):
                bids = [Bid(key, new_token(), LONG_LEASE) for key in keys[start : start + 3]]
                claims = await repeated(store.claim, bids)
                held = [claim for claim in claims if claim.outcome is Outcome.FRESH]
                granted.update(claim.key for claim in held)
                assert all(await repeated(store.renew, held, LONG_LEASE))
                done = [Settlement(claim, LONG_TTL, b"result") for claim in held]
                assert all(await repeated(store.complete, done))
                settled.update(claim.key for claim in held)
            if last:
                return

    def move():
        for slot in slots:
            with cluster.moving(slot):
                pass

    workers = [asyncio.create_task(work(stores[number % 2])) for number in range(TASKS)]
    await asyncio.to_thread(move)
    moved.set()
    await asyncio.gather(*workers)
    assert granted == settled == Counter(keys)
    for store in stores:
        await store.aclose()


def connections(cluster):
    """What each node knows the connections to it by, but for the one that asks."""
    found = set()
    for node in cluster.nodes:
        with node.client() as look:
            own = look.client_id()
            found |= {(node.port, each["id"]) for each in look.client_list("normal")}
            found.discard((node.port, str(own)))
    return found


async def test_a_moved_slot_closes_no_connection(cluster, url):
    """What is told to one caller, that a slot is elsewhere, costs no other his connection."""
    store = RedisStore.from_url(url)
    keys = [a_key() for _ in range(SLOTS)]
    bids = [Bid(key, new_token(), LONG_LEASE) for key in keys]
    for bid in bids:
        assert (await store.claim([bid]))[0].fresh
    before = connections(cluster)
    for key in keys:
        with cluster.moving(cluster.slot_of(redis_key(PREFIX, key))):
            pass
    for bid in bids:
        assert (await store.claim([bid]))[0].fresh
    assert before <= connections(cluster)
    await store.aclose()


@pytest.mark.parametrize("several", [False, True])
async def test_a_connection_that_is_closed_beneath_a_call(cluster, url, monkeypatch, several):
    """What redis-py trips over then is an outage, whichever way the call went."""
    store = RedisStore.from_url(url)
    bids = [Bid(a_key(), new_token(), LONG_LEASE) for _ in range(1 + 2 * several)]
    assert all(claim.fresh for claim in await store.claim(bids))

    async def trips(*_: object, **__: object) -> None:
        raise AttributeError("'NoneType' object has no attribute 'writelines'")

    for verb in ("execute_command", "execute_pipeline"):
        monkeypatch.setattr(ClusterNode, verb, trips)
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.claim(bids)
    monkeypatch.undo()
    assert all(claim.fresh for claim in await repeated(store.claim, bids))
    await store.aclose()


async def test_an_inbox_is_whole_or_away(cluster, url):
    """While its slot moves an inbox takes nothing, so that nothing is left where it was."""
    inbox = RedisInbox.from_url(url)
    waiting, late = an_item(), an_item()
    await inbox.put([waiting], 0.0)
    with cluster.moving(cluster.slot_of(b"{webhook_dedup:inbox}")):
        for verb in (inbox.put([late], 0.0), inbox.take(10, LONG_LEASE), inbox.done([waiting])):
            with pytest.raises(StoreUnavailable, match="moving this key"):
                await verb
    await repeated(inbox.put, [late], 0.0)
    taken = await inbox.take(10, LONG_LEASE)
    assert {item.id for item in taken} == {waiting.id, late.id}
    assert all(await inbox.begin(taken))
    await inbox.done(taken)
    await inbox.aclose()
