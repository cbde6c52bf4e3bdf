"""The Redis inbox keeps the contract on every server, client and topology."""

import uuid

import fakeredis
import pytest
import redis.asyncio as aioredis

from tests.binaries import redis_binaries
from tests.conftest import redis_choices
from webhook_dedup.inbox.redis import RedisInbox
from webhook_dedup.testing import InboxContract

newest_redis = pytest.mark.parametrize(
    "redis_url", redis_choices()[-1:], indirect=True, ids=str, scope="session"
)
newest_binary = pytest.mark.parametrize(
    "redis_binary", redis_binaries()[-1:], indirect=True, ids=lambda b: b.series, scope="session"
)


@pytest.fixture
def prefix():
    """A prefix of the test's own, so that its inbox is empty."""
    return f"test-{uuid.uuid4().hex}:"


class RedisContract(InboxContract):
    lease = 0.05
    margin = 0.02

    async def spoil(self, inbox, item_id):
        key = inbox._table._base + b"item:" + item_id.encode()
        assert not await inbox._client.hset(key, "head", b"\xff{")
        return True


class TestByUrl(RedisContract):
    @pytest.fixture
    async def inbox(self, redis_url, prefix):
        inbox = RedisInbox.from_url(redis_url, prefix=prefix)
        yield inbox
        await inbox.aclose()


@newest_redis
class TestOwnDecodingClient(RedisContract):
    @pytest.fixture
    async def inbox(self, redis_url, prefix):
        async with aioredis.from_url(redis_url, decode_responses=True, protocol=3) as client:
            yield RedisInbox(client, prefix=prefix)


class TestCluster(RedisContract):
    @pytest.fixture
    async def inbox(self, redis_cluster, prefix):
        url = redis_cluster.url.replace("redis://", "redis+cluster://")
        inbox = RedisInbox.from_url(url, prefix=prefix)
        await inbox.start()
        yield inbox
        await inbox.aclose()


@newest_binary
class TestSentinel(RedisContract):
    @pytest.fixture
    async def inbox(self, redis_sentinel, prefix):
        host, port = redis_sentinel.address
        url = f"redis+sentinel://{host}:{port}/{redis_sentinel.service}/1"
        inbox = RedisInbox.from_url(url, prefix=prefix)
        await inbox.start()
        yield inbox
        await inbox.aclose()


class TestFakeServer(RedisContract):
    """What users' own tests run on."""

    @pytest.fixture
    async def inbox(self, prefix):
        async with fakeredis.FakeAsyncRedis() as client:
            inbox = RedisInbox(client, prefix=prefix)
            await inbox.start()
            yield inbox
