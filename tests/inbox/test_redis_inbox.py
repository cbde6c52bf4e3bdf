"""The Redis inbox keeps the contract on every server, client and topology."""

import fakeredis
import pytest
import redis
import redis.asyncio as aioredis
from redis.asyncio.cluster import ClusterNode

from tests import redis_support
from tests.redis_support import newest_binary, newest_redis
from webhook_dedup.contracts import Sought
from webhook_dedup.errors import ConfigError
from webhook_dedup.inbox.redis import RedisInbox
from webhook_dedup.testing import InboxContract
from webhook_dedup.testing.inbox_rules.case import a_grave, an_item, put

prefix = redis_support.prefix


class RedisContract(InboxContract):
    lease = 0.05
    margin = 0.02

    async def spoil(self, inbox, item_id):
        key = inbox._table._base + b"item:" + item_id.encode()
        assert not await inbox._wire.client.hset(key, "head", b"\xff{")
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


@pytest.mark.parametrize("prefix", ["", "{app}:", "a}b{c", "app:"])
async def test_any_prefix_keeps_to_one_slot(redis_cluster, prefix):
    """In a cluster an inbox works under every prefix that is taken, and empties itself."""
    nodes = [ClusterNode("127.0.0.1", node.port) for node in redis_cluster.nodes]
    async with aioredis.RedisCluster(startup_nodes=nodes) as client:
        inbox = RedisInbox(client, prefix=prefix)
        graves = [await a_grave(inbox, key="{key}") for _ in range(3)]
        item = await put(inbox, an_item(key="{key}"), 0.0)
        assert [each.id for each in await inbox.take(10, 600.0)] == [item.id]
        assert len(await inbox.find(Sought())) == len(graves) + 1
        await inbox.done([item])
        assert not [key async for key in client.scan_iter(f"{prefix}{{{prefix}inbox}}:*")]
        await inbox.aclose()
        assert await client.ping()


@pytest.mark.parametrize("prefix", ["a{}:", "}", "}a:"])
def test_prefix_without_a_slot(prefix):
    """A prefix that would spread an inbox over a cluster is refused at once."""
    with pytest.raises(ConfigError, match="prefix"):
        RedisInbox.from_url("redis://localhost", prefix=prefix)


@pytest.mark.parametrize("client", [redis.Redis(), "redis://localhost", None])
def test_wrong_client(client):
    """What is no asyncio client is refused with what to write instead."""
    with pytest.raises(ConfigError, match=r"RedisInbox\.from_url"):
        RedisInbox(client)


def test_prefix_in_the_url():
    """The prefix may stand in the URL, and the password is not shown."""
    inbox = RedisInbox.from_url("redis://:s3cret@localhost/1?prefix=mine:")
    assert inbox._table._base == b"mine:{mine:inbox}:"
    assert "s3cret" not in repr(inbox)
