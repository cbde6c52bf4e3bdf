"""Commands packed by hand: what goes over the wire, and when redis-py is left to send."""

import asyncio

import pytest
import redis
import redis.asyncio as aioredis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ConstantBackoff, NoBackoff

from tests.proxy import Proxy
from tests.redis_groups import RedisSentinel
from tests.servers import wait_until
from tests.stores.sql_support import bids, outcomes
from webhook_dedup.backends.redis import checkouts
from webhook_dedup.backends.redis.resp import packed
from webhook_dedup.backends.redis.sending import undisturbed
from webhook_dedup.backends.redis.wire import Wire
from webhook_dedup.errors import StoreError, StoreUnavailable
from webhook_dedup.model import Bid, Outcome, Settlement, new_token
from webhook_dedup.stores.redis import RedisStore
from webhook_dedup.stores.redis.values import redis_key
from webhook_dedup.testing.store_rules.case import a_key, claim, complete

NO_RETRY = Retry(NoBackoff(), 0)


def test_words_of_every_kind_are_packed_as_bytes():
    """Text, bytes and numbers go with their lengths in bytes, blanks and line ends included."""
    command = ["SET", b"k\r\n \xff", "\u00e9", 0, ""]
    assert packed(command) == (
        b"*5\r\n$3\r\nSET\r\n$5\r\nk\r\n \xff\r\n$2\r\n\xc3\xa9\r\n$1\r\n0\r\n$0\r\n\r\n"
    )


@pytest.mark.parametrize("kind", [bytearray, memoryview, type("Bytes", (bytes,), {})])
def test_buffers_are_packed_as_the_bytes_they_hold(kind):
    """What an app or a server hands over need not be bytes itself to be kept byte for byte."""
    assert packed(["SET", kind(b"\xff\r\n")]) == packed(["SET", b"\xff\r\n"])


class Watching(Redis):
    """A client that wants to see every command."""

    seen = 0

    async def execute_command(self, *args, **options):
        Watching.seen += 1
        return await super().execute_command(*args, **options)


async def test_a_client_that_watches_its_commands_sees_them(redis_url):
    """A subclass that overrides how commands are sent is not passed by."""
    async with Watching.from_url(redis_url) as client:
        before = Watching.seen
        assert outcomes(await RedisStore(client).claim(bids(3))) == {Outcome.FRESH}
        assert Watching.seen > before


async def test_one_connection_clients_are_served(redis_url):
    """A client that keeps to one connection is used as it is."""
    async with Redis.from_url(redis_url, single_connection_client=True) as client:
        assert outcomes(await RedisStore(client).claim(bids(3))) == {Outcome.FRESH}


async def test_results_survive_a_client_that_decodes(redis_url):
    """Bytes come back as bytes although the user's client decodes replies."""
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        store = RedisStore(client)
        batch = bids(2)
        assert outcomes(await store.claim(batch)) == {Outcome.FRESH}
        assert outcomes(await store.claim(batch)) == {Outcome.FRESH}


@pytest.mark.parametrize("length", [0, 1, 1023, 1024, 70_000])
def test_long_words(length):
    """A word of any length goes with its length."""
    assert packed([b"x" * length]) == b"*1\r\n$%d\r\n%b\r\n" % (length, b"x" * length)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_every_key_of_a_batch_gets_its_own_answer(redis_url, protocol):
    """New, held and done keys in any order are told apart, whatever the results contain."""
    results = [b"", b"\r\n$-1\r\n", b"\xff" * 300_000, None]
    async with aioredis.from_url(redis_url, protocol=protocol) as client:
        store = RedisStore(client)
        batch = bids(12)
        held = await store.claim(batch[::2])
        settlements = zip(held[:4], results, strict=True)
        assert all(await store.complete([Settlement(each, 60, own) for each, own in settlements]))
        others = [Bid(bid.key, new_token(), bid.lease) for bid in batch]
        answers = await store.claim(others)
        assert [each.key for each in answers] == [bid.key for bid in batch]
        assert [each.fresh for each in answers[1::2]] == [True] * 6
        assert [each.result for each in answers[:8:2]] == results
        assert outcomes(answers[:8:2]) == {Outcome.DUPLICATE}
        assert outcomes(answers[8::2]) == {Outcome.IN_FLIGHT}


async def test_an_error_among_answers_leaves_the_next_ones_in_order(redis_url):
    """After one key of a batch was refused, the same connection answers the next batch rightly."""
    async with aioredis.from_url(redis_url, protocol=2) as client:
        store = RedisStore(client)
        held = await claim(store, a_key())
        assert await complete(store, held, result=b"first")
        batch = bids(5)
        await client.lpush(redis_key("webhook_dedup:", batch[2].key), "an element")
        with pytest.raises(StoreError, match=batch[2].key):
            await store.claim(batch)
        answers = await store.claim([*bids(2), Bid(held.key, new_token(), 60.0), *bids(1)])
        assert [each.result for each in answers] == [None, None, b"first", None]


@pytest.mark.parametrize("size", [1, 5])
async def test_late_answers_are_nobodys(redis_url, size):
    """What a server says after the time-out is not taken for the answer to the next command."""
    async with Proxy.to(redis_url) as proxy:
        store = RedisStore.from_url(proxy.through(redis_url), timeout=0.3)
        batch = bids(size)
        done = await claim(store, a_key())
        assert await complete(store, done, result=b"done")
        proxy.black_hole()
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await store.claim([Bid(done.key, new_token(), 60.0)])
        proxy.restore()
        assert outcomes(await store.claim(batch)) == {Outcome.FRESH}
        assert (await claim(store, done.key)).result == b"done"
        await store.aclose()


@pytest.mark.parametrize("size", [1, 5])
async def test_given_up_answers_are_nobodys(redis_url, size):
    """Nor is what it says to a caller that was cancelled."""
    async with Proxy.to(redis_url) as proxy:
        store = RedisStore.from_url(proxy.through(redis_url))
        done = await claim(store, a_key())
        assert await complete(store, done, result=b"done")
        proxy.delay = 0.1
        given_up = 0
        while given_up < 3:
            impatient = asyncio.ensure_future(claim(store, done.key))
            await asyncio.sleep(0.05)
            if impatient.cancel():  # on a busy machine the answer may be there before
                given_up += 1
                with pytest.raises(asyncio.CancelledError):
                    await impatient
        proxy.delay = 0.0
        assert outcomes(await store.claim(bids(size))) == {Outcome.FRESH}
        await store.aclose()


@pytest.mark.parametrize("ours", [True, False])
async def test_a_connection_closed_while_idle_is_not_used(redis_server, ours):
    """A command is not wasted on a connection that the server has closed meanwhile."""
    async with aioredis.from_url(redis_server.url, retry=NO_RETRY) as client:
        url = redis_server.url
        store = RedisStore.from_url(url, retry=NO_RETRY) if ours else RedisStore(client)
        assert (await claim(store, a_key())).fresh
        with redis_server.client() as look:
            look.client_kill_filter(_type="normal", skipme=True)
            await asyncio.to_thread(
                wait_until,
                lambda: len(look.client_list(_type="normal")) == 1,
                what="the end of the connection",
            )
        await asyncio.sleep(0.1)  # until it was read
        assert (await claim(store, a_key())).fresh
        await store.aclose()


async def test_the_users_own_commands_find_a_connection(redis_url):
    """However many claims were under way, a part of a small pool is left to others."""
    async with aioredis.from_url(redis_url, max_connections=2) as client:
        store = RedisStore(client)
        await asyncio.gather(*(claim(store, a_key()) for _ in range(50)))
        assert await client.ping()
        assert (await claim(store, a_key())).fresh


@pytest.mark.parametrize("size", [9, 12, 16])
async def test_a_burst_leaves_the_users_pool_to_the_user(redis_url, size):
    """Once its claims are answered, nothing is kept of a pool that is not the library's."""
    async with aioredis.from_url(redis_url, max_connections=size) as client:
        store = RedisStore(client)
        await asyncio.gather(*(claim(store, a_key()) for _ in range(50)))
        waits = [client.blpop(a_key(), timeout=0.5) for _ in range(size)]
        assert await asyncio.gather(*waits) == [None] * size


async def test_a_look_at_the_server_waits_its_turn(redis_url):
    """While all connections of a small pool are in use, nobody asks for one more."""
    async with (
        Proxy.to(redis_url) as proxy,
        aioredis.from_url(proxy.through(redis_url), max_connections=3) as client,
    ):
        wire = Wire(client, "a test", 3)
        proxy.black_hole()
        working = [asyncio.ensure_future(wire.delete(b"nothing")) for _ in range(3)]
        await asyncio.sleep(0)
        looking = [
            asyncio.ensure_future(wire.info()),
            asyncio.ensure_future(wire.setting("port")),
        ]
        await asyncio.wait([*working, *looking], timeout=0.2)
        proxy.restore()
        assert await asyncio.gather(*working) == [False] * 3
        (facts,), (port,) = await asyncio.gather(*looking)
        assert str(facts["tcp_port"]) == port


async def test_connections_go_back_to_their_pool_now_and_then(redis_url, monkeypatch):
    """What a pool does for connections it hands out is done for those that are kept, too."""
    store = RedisStore.from_url(redis_url)
    await store.start()
    pool, returned = store.connection.connection_pool, []
    release = pool.release

    async def counted(connection):
        returned.append(connection)
        await release(connection)

    monkeypatch.setattr(pool, "release", counted)
    now = checkouts.monotonic()
    monkeypatch.setattr(checkouts, "monotonic", lambda: now)
    for _ in range(10):
        await claim(store, a_key())
    assert not returned
    now += 60
    for _ in range(10):
        await claim(store, a_key())
    assert len(returned) == 1
    await store.aclose()


async def test_commands_that_a_tracer_wraps_are_seen(redis_url, monkeypatch):
    """Tracers put a function of their own in the place of the class's."""
    plain, seen = Redis.execute_command, []

    async def traced(self, *words, **options):
        seen.append(words[0])
        return await plain(self, *words, **options)

    monkeypatch.setattr(Redis, "execute_command", traced)
    store = RedisStore.from_url(redis_url)
    assert (await claim(store, a_key())).fresh
    assert "SET" in seen or "EVALSHA" in seen
    await store.aclose()


@pytest.mark.parametrize(
    "asked",
    [
        lambda store, _: claim(store, a_key()),
        lambda store, held: store.renew([held], 60.0),
        lambda store, held: store.complete([Settlement(held, 60.0)]),
    ],
    ids=["claim", "renew", "complete"],
)
async def test_a_demoted_primary_is_left(redis_binary, asked):
    """A user's client that asks sentinels asks them again when its primary refuses to write.

    A script tells of it in its own words.
    """
    with RedisSentinel(redis_binary, replicas=1) as group:
        manager = Sentinel([group.address])
        retry = Retry(ConstantBackoff(0.5), 3)
        async with manager.master_for(group.service, retry=retry) as client:
            store = RedisStore(client)
            held = await claim(store, a_key())
            with group.master.client() as look:
                look.replicaof("127.0.0.1", "1")
                asking = asyncio.ensure_future(asked(store, held))
                await asyncio.sleep(0.2)
                look.replicaof("NO", "ONE")
            await asking
        for sentinel in manager.sentinels:
            await sentinel.aclose()


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (AttributeError("'NoneType' object has no attribute 'write'"), redis.ConnectionError),
        (
            RuntimeError("unable to perform operation on <TCPTransport closed>"),
            redis.ConnectionError,
        ),
        (RuntimeError("Task got Future attached to a different loop"), RuntimeError),
        (RuntimeError("Event loop is closed"), RuntimeError),
        (RecursionError("maximum recursion depth exceeded"), RecursionError),
        (NotImplementedError("a subclass does not do this"), NotImplementedError),
    ],
)
async def test_what_a_cluster_that_closes_its_connections_raises(raised, told):
    """What is pulled from under a call is an outage; what a person must mend stays what it is."""

    async def call():
        raise raised

    cluster = aioredis.RedisCluster(host="localhost")
    with pytest.raises(told):
        await undisturbed(cluster, call())
