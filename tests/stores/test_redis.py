"""The Redis store keeps the contract on every server, client and topology."""

import fakeredis
import pytest
import redis.asyncio as aioredis
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.sentinel import Sentinel

from tests import redis_support
from tests.redis_support import newest_binary, newest_redis
from webhook_dedup.errors import StoreUnavailable
from webhook_dedup.model import Outcome
from webhook_dedup.stores.redis import RedisStore
from webhook_dedup.testing import StoreContract
from webhook_dedup.testing.store_rules.case import a_key, claim, complete

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
        await store.aclose()
        assert await client.ping()


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
        await store.aclose()
        assert await client.ping()
    for sentinel in manager.sentinels:
        await sentinel.aclose()
