"""The Redis store keeps the contract on every server, client and topology."""

import uuid

import fakeredis
import pytest
import redis.asyncio as aioredis
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.sentinel import Sentinel

from webhook_dedup.stores.redis import RedisStore
from webhook_dedup.testing import StoreContract


class RedisContract(StoreContract):
    async def unexpiring(self, store):
        client = store._client
        keys = [key async for key in client.scan_iter(f"{store._prefix}*", count=1000)]
        assert keys
        return [key for key in keys if await client.ttl(key) == -1]


@pytest.fixture
def prefix():
    """A prefix of the test's own, so that looking for what it left sees nothing else."""
    return f"test-{uuid.uuid4().hex}:"


class TestByUrl(RedisContract):
    @pytest.fixture
    async def store(self, redis_url, prefix):
        store = RedisStore.from_url(redis_url, prefix=prefix)
        yield store
        await store.aclose()


class TestScriptsOnly(RedisContract):
    """As on a server that does not know ``SET NX GET``."""

    @pytest.fixture
    async def store(self, redis_url, prefix):
        store = RedisStore.from_url(redis_url, prefix=prefix)
        store._knows_set_nx_get = False
        yield store
        await store.aclose()


class TestOwnClient(RedisContract):
    @pytest.fixture
    async def store(self, redis_url, prefix):
        async with aioredis.from_url(redis_url) as client:
            yield RedisStore(client, prefix=prefix)


class TestDecodingClient(RedisContract):
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


class TestOwnClusterClient(RedisContract):
    @pytest.fixture
    async def store(self, redis_cluster, prefix):
        nodes = [ClusterNode("127.0.0.1", node.port) for node in redis_cluster.nodes]
        async with aioredis.RedisCluster(startup_nodes=nodes, decode_responses=True) as client:
            yield RedisStore(client, prefix=prefix)


class TestSentinel(RedisContract):
    @pytest.fixture
    async def store(self, redis_sentinel, prefix):
        host, port = redis_sentinel.address
        url = f"redis+sentinel://{host}:{port}/{redis_sentinel.service}/1"
        store = RedisStore.from_url(url, prefix=prefix)
        yield store
        await store.aclose()


class TestOwnSentinelClient(RedisContract):
    @pytest.fixture
    async def store(self, redis_sentinel, prefix):
        manager = Sentinel([redis_sentinel.address])
        async with manager.master_for(redis_sentinel.service) as client:
            yield RedisStore(client, prefix=prefix)
        await manager.aclose()


class TestFakeServer(RedisContract):
    """What users' own tests run on."""

    @pytest.fixture
    async def store(self, prefix):
        async with fakeredis.FakeAsyncRedis() as client:
            yield RedisStore(client, prefix=prefix)
