"""What the Redis store does when Sentinel has another primary, or does not answer."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from tests.binaries import redis_binaries
from tests.ports import HOST
from tests.redis_groups import RedisSentinel
from tests.servers import wait_until
from webhook_dedup.errors import ConfigError, StoreUnavailable
from webhook_dedup.stores.redis import RedisStore
from webhook_dedup.testing.store_rules.case import a_key, claim

AT_ONCE = 30
"""Claims, which are more than the store has connections."""


@pytest.fixture
def group():
    with RedisSentinel(redis_binaries()[-1], replicas=1) as group:
        yield group


@asynccontextmanager
async def started(group, timeout=2.0):
    """A store that has as many connections to the primary as it may have."""
    host, port = group.address
    store = RedisStore.from_url(f"redis+sentinel://{host}:{port}/main", timeout=timeout)
    try:
        await store.start()
        await many(store)
        yield store
    finally:
        await store.aclose()


async def many(store):
    keys = [a_key(str(number)) for number in range(AT_ONCE)]
    for held in await asyncio.gather(*(claim(store, key) for key in keys)):
        assert held.fresh


def have_watched(group, server):
    """Have the sentinel name another primary, and leave the old one as it is."""
    with group.sentinel.client() as sentinel, server.client() as new:
        new.replicaof("NO", "ONE")
        sentinel.execute_command("SENTINEL", "REMOVE", group.service)
        sentinel.execute_command("SENTINEL", "MONITOR", group.service, HOST, server.port, 1)


async def test_a_primary_that_its_replicas_left(group):
    """One that refuses writes for want of replicas may be replaced: the sentinels are asked."""
    with group.master.client() as old:
        old.config_set("min-replicas-to-write", 1)
        async with started(group) as store:
            have_watched(group, group.replicas[0])
            wait_until(lambda: not old.info("replication")["connected_slaves"], what="it alone")
            with pytest.raises(StoreUnavailable, match="too few replicas"):
                await claim(store, a_key())
            await many(store)


async def test_a_primary_that_falls_silent(group):
    """One call finds out that it is replaced, and not one for every connection."""
    async with started(group) as store:
        group.master.pause()
        have_watched(group, group.replicas[0])
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            await claim(store, a_key())
        await many(store)


async def test_silent_sentinels():
    """Each is asked once, and all of them for no longer than one server might be."""
    asked = []

    async def keep_silent(reader, writer):
        asked.append(writer.get_extra_info("sockname")[1])
        await reader.read()
        writer.close()

    servers = [await asyncio.start_server(keep_silent, HOST, 0) for _ in range(3)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    hosts = ",".join(f"{HOST}:{port}" for port in ports)
    store = RedisStore.from_url(f"redis+sentinel://{hosts}/main", timeout=3)
    for sentinel in store._wire.client.connection_pool.sentinel_manager.sentinels:
        options = sentinel.connection_pool.connection_kwargs
        assert options["socket_timeout"] == options["socket_connect_timeout"] == 1
    with pytest.raises(StoreUnavailable, match="no sentinel names its primary"):
        await store.start()
    assert sorted(asked) == sorted(ports)
    await store.aclose()
    for server in servers:
        server.close()


@pytest.mark.parametrize("login", ["", "?sentinel_password=wrong"], ids=["absent", "wrong"])
async def test_login_of_the_sentinels(group, login):
    """It is named when it is refused, as waiting does not help."""
    with group.sentinel.client() as sentinel:
        sentinel.execute_command("ACL", "SETUSER", "default", "resetpass", ">s3cret")
    host, port = group.address
    store = RedisStore.from_url(f"redis+sentinel://{host}:{port}/main{login}")
    with pytest.raises(ConfigError, match="sentinel_password="):
        await store.start()
    await store.aclose()
