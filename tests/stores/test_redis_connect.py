"""Which URLs and clients the Redis store takes, and what it says to the others."""

import subprocess
import sys
from urllib.parse import unquote

import pytest
import redis
import redis.asyncio as aioredis

from tests.servers import RedisServer
from webhook_dedup.backends.redis.address import Address
from webhook_dedup.backends.redis.clients import waits_for_ever
from webhook_dedup.errors import ConfigError, StoreUnavailable
from webhook_dedup.stores.redis import RedisStore
from webhook_dedup.testing.store_rules.case import a_key, claim

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "scheme", "shape", "hosts", "path"),
    [
        ("redis://", "redis", "", (("localhost", 6379),), ""),
        ("redis://h", "redis", "", (("h", 6379),), ""),
        ("valkey://u:p@h:1/2", "redis", "", (("h", 1),), "/2"),
        ("rediss://[::1]:7/0", "rediss", "", (("[::1]", 7),), "/0"),
        ("valkeys://h", "rediss", "", (("h", 6379),), ""),
        ("unix:///run/redis.sock?db=1", "unix", "", (), "/run/redis.sock"),
        ("unix://:p@/run/redis.sock", "unix", "", (), "/run/redis.sock"),
        ("redis+sentinel://a,b:1/main/3", "redis", "sentinel", (("a", 26379), ("b", 1)), "/main/3"),
        ("valkeys+sentinel://a/main", "rediss", "sentinel", (("a", 26379),), "/main"),
        ("redis+cluster://a:1,b", "redis", "cluster", (("a", 1), ("b", 6379)), ""),
        ("VALKEY+cluster://a", "redis", "cluster", (("a", 6379),), ""),
    ],
)
def test_address(url, scheme, shape, hosts, path):
    """Every documented form of URL is taken apart."""
    address = Address.parse(url)
    assert (address.scheme, address.shape, address.hosts, address.path) == (
        scheme,
        shape,
        hosts,
        path,
    )


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("localhost:6379", "redis://"),
        ("http://localhost", "redis://"),
        ("redis+http://localhost", "redis://"),
        ("unix+cluster:///x", "redis://"),
        ("redis://localhost/zero", "number"),
        ("redis://localhost/0/1", "number"),
        ("redis://localhost:port", "valid host and port"),
        ("redis://localhost:99999", "valid host and port"),
        (f"redis://:{SECRET}/x@localhost", "percent-encode"),
        (f"redis://:{SECRET}?x@localhost", "percent-encode"),
        (f"redis://user:1?{SECRET}@localhost", "percent-encode"),
        (f"user:{SECRET}@localhost", "redis://"),
        ("redis://a,b", r"redis\+cluster"),
        ("redis://localhost?colour=red", "colour"),
        ("redis://localhost?socket_timeout=soon", "socket_timeout"),
        ("redis://localhost?timeout=soon", "timeout= in the URL must be a number"),
        ("redis://localhost?timeout=0", "above 0"),
        ("redis://localhost?timeout=nan", "above 0"),
        ("redis+sentinel://localhost", "service"),
        ("redis+sentinel://localhost/main?colour=red", "colour"),
        ("redis+cluster://localhost/3", "only database 0"),
        ("redis+cluster://localhost?colour=red", "colour"),
    ],
)
def test_bad_url(url, remedy):
    """A URL that cannot work is refused at once, with what to write and without its password."""
    with pytest.raises(ConfigError, match=remedy) as caught:
        RedisStore.from_url(url)
    assert SECRET not in f"{caught.value}{caught.value.__cause__}"


def test_options_in_the_url():
    """Options of redis-py and the prefix may stand in the URL, percent-encoded where needed."""
    store = RedisStore.from_url(
        f"redis://user:{SECRET}%2F%40@localhost/3?socket_timeout=1.5&prefix=my%20app:"
    )
    options = store._wire.client.connection_pool.connection_kwargs
    assert (options["username"], options["password"]) == ("user", f"{SECRET}/@")
    assert (options["db"], options["socket_timeout"]) == (3, 1.5)
    assert store._prefix == "my app:"
    assert SECRET not in repr(store)


@pytest.mark.parametrize(
    "url", ["redis://h?timeout=1.5", "redis+sentinel://h/main?timeout=1.5", "unix:///s?timeout=1.5"]
)
def test_a_timeout_in_the_url(url):
    """A timeout is written as with the other stores, and bounds connecting and answers."""
    options = RedisStore.from_url(url, timeout=9)._wire.client.connection_pool.connection_kwargs
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (1.5, 1.5)


@pytest.mark.parametrize("password", ["a#b", "a:b", "a%23b", "%41", "a@b", "\u00e9"])
def test_unescaped_password(password):
    """A password that can be read without doubt need not be percent-encoded."""
    store = RedisStore.from_url(f"redis://:{password}@localhost/1")
    options = store._wire.client.connection_pool.connection_kwargs
    assert options["password"] == unquote(password)
    assert (options["host"], options["db"]) == ("localhost", 1)


def test_sentinel_options():
    """Data servers and sentinels have logins of their own, and TLS holds for both."""
    store = RedisStore.from_url(
        f"rediss+sentinel://user:{SECRET}@a:1,b/main/2?sentinel_password=other"
    )
    pool = store._wire.client.connection_pool
    assert pool.connection_kwargs["password"] == SECRET
    assert pool.connection_kwargs["db"] == 2
    sentinels = [each.connection_pool for each in pool.sentinel_manager.sentinels]
    assert [each.connection_kwargs["host"] for each in sentinels] == ["a", "b"]
    assert all(each.connection_kwargs["password"] == "other" for each in sentinels)
    assert all(issubclass(each.connection_class, aioredis.SSLConnection) for each in sentinels)
    assert issubclass(pool.connection_class, aioredis.SSLConnection)


def test_cluster_over_tls():
    """A cluster's URL may ask for TLS."""
    store = RedisStore.from_url(f"rediss+cluster://:{SECRET}@a:1,b")
    options = store._wire.client.nodes_manager.connection_kwargs
    assert issubclass(options["connection_class"], aioredis.SSLConnection)
    assert options["password"] == SECRET
    assert SECRET not in repr(store)


@pytest.mark.parametrize(
    ("client", "remedy"),
    [
        (redis.Redis(), "redis.asyncio.Redis"),
        ("redis://localhost", "from_url"),
        (None, "from_url"),
    ],
    ids=["blocking", "url", "nothing"],
)
def test_wrong_client(client, remedy):
    """What is no asyncio client is refused at once, with what to pass instead."""
    with pytest.raises(ConfigError, match=remedy):
        RedisStore(client)


async def test_unix_socket(redis_binary, tmp_path):
    """A server is reached by its socket."""
    path = f"/tmp/webhook-dedup-{a_key('sock').replace(':', '.')}"
    with RedisServer(redis_binary, args=("--unixsocket", path)):
        store = RedisStore.from_url(f"unix://{path}?db=1")
        assert (await claim(store, a_key())).fresh
        await store.aclose()


async def test_nobody_listens(unused_tcp_port):
    """An address where nobody listens is named; the password beside it is not."""
    for shape in ("", "+sentinel", "+cluster"):
        path = "/main" if shape == "+sentinel" else ""
        store = RedisStore.from_url(f"redis{shape}://:{SECRET}@127.0.0.1:{unused_tcp_port}{path}")
        with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
            await store.start()
        assert SECRET not in f"{caught.value}{caught.value.__cause__!r}"
        await store.aclose()


async def test_host_that_does_not_exist():
    """A host name that does not resolve is a server that cannot be reached."""
    store = RedisStore.from_url("redis://no-such-host.invalid")
    with pytest.raises(StoreUnavailable, match=r"no-such-host\.invalid"):
        await store.start()
    await store.aclose()


async def test_own_client_stays_open(redis_url):
    """The user's client goes on working after the store is closed."""
    async with aioredis.from_url(redis_url) as client:
        store = RedisStore(client)
        assert (await claim(store, a_key())).fresh
        connections = len(client.connection_pool._available_connections)
        await store.aclose()
        assert len(client.connection_pool._available_connections) == connections
        assert await client.ping()


async def test_own_client_without_time_out(redis_url, caplog):
    """A client that would wait for ever is warned of at start-up."""
    async with aioredis.from_url(redis_url, socket_timeout=None) as client:
        await RedisStore(client).start()
        assert "socket_timeout=5" in caplog.text


def test_missing_extra():
    """Without redis-py the error is the line that installs it."""
    script = (
        "import sys; sys.modules['redis'] = None\n"
        "from webhook_dedup.errors import MissingExtra\n"
        "try:\n    import webhook_dedup.stores.redis\n"
        "except MissingExtra as error:\n    print(error)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert "pip install 'webhook_dedup[redis]'" in answer.stdout


@pytest.mark.parametrize(
    ("options", "for_ever"),
    [
        ({"socket_timeout": None}, True),
        ({"socket_timeout": 3}, False),
        ({}, int(redis.__version__.partition(".")[0]) < 8),
    ],
)
def test_clients_that_wait_for_ever(options, for_ever):
    """A client without a time-out is warned of, and none that has redis-py's own."""
    assert waits_for_ever(aioredis.from_url("redis://localhost", **options)) is for_ever
