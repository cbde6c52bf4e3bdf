"""The servers behind all other tests: restarts, freezes, versions, groups."""

from __future__ import annotations

from urllib.parse import urlsplit

import asyncpg
import pytest
import redis
from redis.cluster import RedisCluster as ClusterClient
from redis.sentinel import Sentinel as SentinelClient

from .binaries import redis_binaries
from .servers import DURABLE, RedisServer


def test_a_redis_of_each_series_is_there():
    """Redis 6.2 is always among the servers, whatever the machine has."""
    assert "6.2" in {binary.series for binary in redis_binaries()}


def test_redis_url_answers(redis_url):
    """The shared Redis can be reached by its URL."""
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()


def test_redis_keeps_its_port_and_data_over_a_kill(redis_binary):
    """A killed Redis with an append-only file comes back at the same port with its keys."""
    with RedisServer(redis_binary, args=DURABLE) as server:
        url = server.url
        with server.client() as client:
            client.set("kept", "1")
        server.kill()
        server.start()
        with redis.Redis.from_url(url) as client:
            assert client.get("kept") == b"1"


def test_a_paused_redis_does_not_answer(redis_server):
    """A frozen server takes connections and stays silent until it is resumed."""
    redis_server.pause()
    with redis.Redis(port=redis_server.port, socket_timeout=0.2, retry=None) as client:
        with pytest.raises(redis.TimeoutError):
            client.ping()
        redis_server.resume()
        assert client.ping()


def test_a_stopped_redis_refuses(redis_server):
    """A stopped server refuses connections."""
    redis_server.stop()
    with redis_server.client() as client, pytest.raises(redis.ConnectionError):
        client.ping()


def test_cluster_serves_every_slot(redis_cluster):
    """Keys of all slots can be written through the cluster's one URL."""
    with ClusterClient.from_url(redis_cluster.url) as client:
        assert all(client.set(f"key-{n}", n) for n in range(32))
        assert len(client.get_primaries()) == len(redis_cluster.nodes)


def test_sentinel_names_its_master(redis_sentinel):
    """The sentinel answers with the address of the master."""
    sentinel = SentinelClient([redis_sentinel.address])
    try:
        host, port = sentinel.discover_master(redis_sentinel.service)
    finally:
        for client in sentinel.sentinels:
            client.close()
    assert (host, port) == ("127.0.0.1", redis_sentinel.master.port)


@pytest.mark.parametrize("turn", ["first", "second"])
async def test_postgres_url_is_empty(postgres_url, turn):
    """Each test finds the database empty, whatever the one before it left, set and left open."""
    connection = await asyncpg.connect(postgres_url)
    assert await connection.fetchval("SHOW default_transaction_read_only") == "off"
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname IN ('public', 'hooks')"
    assert await connection.fetchval(tables) == 0
    await connection.execute("CREATE TABLE kept (number int); CREATE SCHEMA hooks")
    name = urlsplit(postgres_url).path[1:]
    await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await connection.execute("BEGIN; CREATE TABLE hooks.locked (number int)")
    connection.terminate()


async def test_postgres_keeps_its_port_and_data_over_a_kill(postgres_server):
    """A killed PostgreSQL comes back at the same port with what was committed."""
    connection = await asyncpg.connect(postgres_server.url)
    await connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
    connection.terminate()
    postgres_server.kill()
    postgres_server.start()
    connection = await asyncpg.connect(postgres_server.url)
    try:
        assert await connection.fetchval("SELECT number FROM kept") == 1
    finally:
        await connection.close()
