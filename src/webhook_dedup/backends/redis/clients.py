"""What is asked of a client of redis-py, be it the user's or made here."""

from __future__ import annotations

import redis
from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import SentinelConnectionPool

from ...errors import ConfigError

__all__ = [
    "Client",
    "check_client",
    "close_client",
    "describe",
    "room_for",
    "unconnected",
    "waits_for_ever",
]

Client = Redis | RedisCluster


def check_client(client: object, what: str) -> None:
    """Refuse what is no asyncio client of redis-py; ``what`` is the class that needs one.

    Raises:
        ConfigError: It says what to pass instead.
    """
    if isinstance(client, (Redis, RedisCluster)):
        return
    if isinstance(client, (redis.Redis, redis.RedisCluster)):
        raise ConfigError(
            f"{what} needs an asyncio client, and {type(client).__name__} of redis is a "
            f"blocking one: pass redis.asyncio.Redis(…) or use {what}.from_url(…)"
        )
    raise ConfigError(
        f"{what} needs a redis.asyncio.Redis or RedisCluster, not {type(client).__name__}; "
        f"for a URL write {what}.from_url(…)"
    )


def describe(client: Client) -> str:
    """Say where a client connects to, without its login."""
    if isinstance(client, RedisCluster):
        return f"Redis Cluster {','.join(client.nodes_manager.startup_nodes)}"
    pool = client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        return f"Redis service {pool.service_name}"
    options = pool.connection_kwargs
    place = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    return f"Redis {place}/{options.get('db', 0)}"


def room_for(client: Client, connections: int) -> int:
    """Return how many commands may be under way: a pool that is full would raise."""
    if isinstance(client, RedisCluster):  # each of its nodes has a pool
        most: int = client.nodes_manager.connection_kwargs["max_connections"]
    else:
        most = client.connection_pool.max_connections
    return min(connections, most)


def waits_for_ever(client: Client) -> bool:
    """Whether a client puts up with a server that never answers."""
    if isinstance(client, RedisCluster):
        return client.nodes_manager.connection_kwargs.get("socket_timeout") is None
    # What it was not told, a connection knows by itself: redis-py 8 has a time-out of its own.
    return unconnected(client.connection_pool).socket_timeout is None


async def close_client(client: Client) -> None:
    """Close a client that this library opened."""
    await client.aclose()
    pool = None if isinstance(client, RedisCluster) else client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def unconnected(pool: ConnectionPool) -> AbstractConnection:
    """Build a connection that connects to nothing. An unknown option is noticed now."""
    connection: AbstractConnection = pool.connection_class(**pool.connection_kwargs)
    return connection
