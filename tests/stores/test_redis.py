"""The Redis store keeps the contract on every server, client and topology."""

import fakeredis
import pytest
import redis.asyncio as aioredis
from msgspec.structs import replace
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.sentinel import Sentinel

from tests import redis_support
from tests.redis_support import newest_binary, newest_redis, oldest_binary
from webhook_dedup.errors import StoreUnavailable
from webhook_dedup.model import Bid, Outcome, Settlement, new_token
from webhook_dedup.stores.redis import RedisStore
from webhook_dedup.testing import StoreContract
from webhook_dedup.testing.store_rules.case import (
    LONG_LEASE,
    LONG_TTL,
    a_key,
    claim,
    complete,
)

prefix = redis_support.prefix


class RedisContract(StoreContract):
    lease = ttl = 0.05
    margin = 0.02

    async def unexpiring(self, store):
        client = store._wire.client
        keys = [key async for key in client.scan_iter(f"{store._prefix}*", count=1000)]
        assert keys
        return [key for key in keys if await client.ttl(key) == -1]


class TestByUrl(RedisContract):
    @pytest.fixture
    async def store(self, redis_url, prefix):
        store = RedisStore.from_url(redis_url, prefix=prefix)
        yield store
        await store.aclose()


@newest_redis
class TestOwnDecodingClient(RedisContract):
    @pytest.fixture
    async def store(self, redis_url, prefix):
        async with aioredis.from_url(redis_url, decode_responses=True, protocol=3) as client:
            yield RedisStore(client, prefix=prefix)


class TestCluster(RedisContract):
    @pytest.fixture
    async def store(self, redis_cluster, prefix):
        url = redis_cluster.url.replace("redis://", "redis+cluster://")
        store = RedisStore.from_url(url, prefix=prefix)
        yield store
        await store.aclose()


@newest_binary
class TestSentinel(RedisContract):
    @pytest.fixture
    async def store(self, redis_sentinel, prefix):
        host, port = redis_sentinel.address
        url = f"redis+sentinel://{host}:{port}/{redis_sentinel.service}/1"
        store = RedisStore.from_url(url, prefix=prefix)
        yield store
        await store.aclose()


class TestFakeServer(RedisContract):
    """What users' own tests run on."""

    own_clock = False

    @pytest.fixture
    async def store(self, prefix):
        async with fakeredis.FakeAsyncRedis() as client:
            yield RedisStore(client, prefix=prefix)


async def way_of_an_event(store):
    """Claim, complete and claim again, one key alone and several together."""
    await store.start()
    held = await claim(store, a_key())
    assert held.fresh
    assert await complete(store, held, result=b"\xff")
    again = await claim(store, held.key)
    assert (again.outcome, again.result) == (Outcome.DUPLICATE, b"\xff")


async def test_own_cluster_client(redis_cluster, prefix):
    """A cluster client of the user's own, decoding replies, is used and left open."""
    nodes = [ClusterNode("127.0.0.1", node.port) for node in redis_cluster.nodes]
    async with aioredis.RedisCluster(startup_nodes=nodes, decode_responses=True) as client:
        store = RedisStore(client, prefix=prefix)
        await way_of_an_event(store)
        node = client.get_nodes()[0]
        connected = await client.client_id(target_nodes=node)
        await store.aclose()
        assert await client.client_id(target_nodes=node) == connected


async def test_own_cluster_client_that_is_in_use(redis_cluster, prefix):
    """Where other calls of the user's hold all connections of a node, the error says so."""
    async with aioredis.RedisCluster.from_url(redis_cluster.url, max_connections=1) as client:
        store = RedisStore(client, prefix=prefix)
        await store.start()
        held = [(node, node.acquire_connection()) for node in client.get_nodes()]
        with pytest.raises(StoreUnavailable, match="MaxConnectionsError"):
            await claim(store, a_key())
        for node, connection in held:
            node.release(connection)
        await way_of_an_event(store)


async def test_own_sentinel_client(redis_sentinel, prefix):
    """A client that found its server through Sentinel is used and left open."""
    manager = Sentinel([redis_sentinel.address])
    async with manager.master_for(redis_sentinel.service) as client:
        store = RedisStore(client, prefix=prefix)
        await way_of_an_event(store)
        connected = await client.client_id()
        await store.aclose()
        assert await client.client_id() == connected
    for sentinel in manager.sentinels:
        await sentinel.aclose()


@newest_binary
async def test_a_claim_is_one_plain_command(redis_server, prefix):
    """Neither a fresh claim nor a copy of what is done takes a script, alone or among others."""
    store = RedisStore.from_url(redis_server.url, prefix=prefix)
    await store.start()
    while store._wire.clock.now() is None:  # a script tells it
        await claim(store, a_key())
    with redis_server.client() as look:
        for number in (1, 3):
            bids = [Bid(a_key(), new_token(), LONG_LEASE) for _ in range(number)]
            before = look.info("commandstats")["cmdstat_evalsha"]["calls"]
            held = await store.claim(bids)
            assert look.info("commandstats")["cmdstat_evalsha"]["calls"] == before
            assert all(await store.complete([Settlement(each, LONG_TTL) for each in held]))
            before = look.info("commandstats")["cmdstat_evalsha"]["calls"]
            copies = await store.claim([replace(bid, token=new_token()) for bid in bids])
            assert look.info("commandstats")["cmdstat_evalsha"]["calls"] == before
            assert [each.outcome for each in copies] == [Outcome.DUPLICATE] * number
    await store.aclose()


@oldest_binary
async def test_a_plain_command_that_is_refused_is_tried_once(redis_server, prefix):
    """A server before 7.0 does not know it, and is not asked with each claim."""
    store = RedisStore.from_url(redis_server.url, prefix=prefix)
    await store.start()
    while store._wire.clock.now() is None:
        await claim(store, a_key())
    with redis_server.client() as look:
        for _ in range(5):
            assert (await claim(store, a_key())).fresh
        assert look.info("commandstats")["cmdstat_set"]["failed_calls"] <= 1
    await store.aclose()
