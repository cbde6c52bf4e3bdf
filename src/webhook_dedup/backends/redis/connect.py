"""Redis clients from URLs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import ConnectionError as DriverConnectionError
from redis.exceptions import ReadOnlyError, RedisClusterException, RedisError

from ...errors import ConfigError
from .address import Address, database_number
from .checkouts import own
from .clients import Client, unconnected
from .sentinels import Sentinels
from .tls import load_certificates, tls_options

__all__ = ["open_client"]

_RETRIED = (DriverConnectionError, ReadOnlyError)


def open_client(
    url: str, prefix: str | None = None, *, timeout: float, connections: int, **options: Any
) -> tuple[Client, str]:
    """Build a client, which connects with its first command; return it and its keys' prefix.

    Args:
        url: Where it connects to. A ``prefix`` or ``timeout`` in it goes before the argument.
        prefix: What every key begins with.
        timeout: Seconds to wait for a connection or an answer.
        connections: How many there may be.
        options: As redis-py has them.

    Raises:
        ConfigError: The URL or an option cannot work.
    """
    address = Address.parse(url)
    prefix = address.query.pop("prefix", "webhook_dedup:" if prefix is None else prefix)
    return _client_at(address, timeout, connections, options), prefix


def _client_at(
    address: Address, timeout: float, connections: int, options: dict[str, Any]
) -> Client:
    builders: dict[str, Callable[[Address, dict[str, Any]], Client]] = {
        "": _standalone,
        "sentinel": _by_sentinel,
        "cluster": _cluster,
    }
    timeout = _timeout_of(address, timeout)
    settings = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "health_check_interval": 30,
        "protocol": 2,  # the other lets messages stand between answers, which is slower to read
        "retry_on_error": [*_RETRIED],  # older redis-py ask for it beside their Retry
        # Twice the bound of the store: a cancelled call gives its turn back a moment before
        # its connection, and a full pool raises.
        "max_connections": 2 * connections,
        **options,
        **tls_options(address, options),
    }
    try:
        client = builders[address.shape](address, settings)
    except (TypeError, ValueError, RedisError, RedisClusterException) as error:
        raise ConfigError(f"a Redis option cannot be used: {error}") from error
    if isinstance(client, Redis):
        own(client)
    return client


def _timeout_of(address: Address, default: float) -> float:
    text = address.query.pop("timeout", None)
    if text is None:
        return default
    with suppress(ValueError):
        timeout = float(text)
        if timeout > 0:
            return timeout
    raise ConfigError(f"timeout= in the URL must be a number of seconds above 0: {text!a}")


def _standalone(address: Address, settings: dict[str, Any]) -> Redis:
    if address.scheme != "unix":
        database_number(address.path.lstrip("/"))
        settings = {"socket_keepalive": True, **settings}
    parsed = parse_url(address.driver_url(address.path))
    pool = ConnectionPool(**{"retry": _retry(), **settings, **parsed})
    load_certificates(unconnected(pool))
    return Redis.from_pool(pool)


def _by_sentinel(address: Address, settings: dict[str, Any]) -> Redis:
    service, _, database = address.path.lstrip("/").partition("/")
    if not service:
        raise ConfigError("the URL names no service; write redis+sentinel://host:port/service[/db]")
    settings = {"socket_keepalive": True, "retry": _retry(), **settings}
    settings.update(_driver_options(address, f"/{database_number(database)}"))
    sentinel_login = {
        name: settings.pop(f"sentinel_{name}")
        for name in ("username", "password")
        if f"sentinel_{name}" in settings
    }
    secure = address.scheme == "rediss"
    patience = settings["socket_timeout"] / len(address.hosts)  # those that are silent add up
    manager = Sentinels(  # type: ignore[no-untyped-call]  # redis-py leaves it without types
        address.hosts,
        sentinel_kwargs={
            "socket_timeout": patience,
            "socket_connect_timeout": patience,
            "retry": Retry(NoBackoff(), 0),  # there are other sentinels to ask
            "ssl": secure,
            **{name: settings[name] for name in settings if name.startswith("ssl_")},
            **sentinel_login,
            **settings.pop("sentinel_kwargs", {}),
        },
    )
    kind = SentinelManagedSSLConnection if secure else SentinelManagedConnection
    client: Redis = manager.master_for(unquote(service), connection_class=kind, **settings)
    load_certificates(unconnected(client.connection_pool))
    return client


def _cluster(address: Address, settings: dict[str, Any]) -> RedisCluster:
    if address.path.strip("/") not in {"", "0"}:
        raise ConfigError("a Redis Cluster has only database 0; leave the path of the URL empty")
    nodes = [ClusterNode(host.strip("[]"), port) for host, port in address.hosts]
    settings = {
        "retry": _retry(1),
        # A slot that has moved is looked for where the server says; to learn the whole map anew
        # redis-py closes every connection, also beneath calls that are under way.
        "reinitialize_steps": 0,
        **settings,
        **_driver_options(address, ""),
    }
    settings["ssl"] = address.scheme == "rediss"
    client = RedisCluster(startup_nodes=nodes, **settings)
    node = next(iter(client.nodes_manager.startup_nodes.values()))
    load_certificates(node.connection_class(**node.connection_kwargs))
    return client


def _driver_options(address: Address, path: str) -> dict[str, Any]:
    """Return login, database and query as redis-py's keyword arguments, without the host."""
    options: dict[str, Any] = dict(parse_url(address.driver_url(path)))
    for name in ("host", "port", "connection_class"):
        options.pop(name, None)
    return options


def _retry(times: int = 2) -> Retry:
    # Every verb may be repeated, so a broken connection is tried again at once. A server that
    # does not answer is not: the caller is told after one time-out, not after several.
    return Retry(
        ExponentialBackoff(cap=0.5, base=0.05),
        times,
        supported_errors=_RETRIED,
    )
