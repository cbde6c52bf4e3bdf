"""What the Redis store does when replies are lost, servers go away and callers give up."""

import asyncio
import logging
import random
import time
from contextlib import contextmanager

import pytest
import redis.asyncio as aioredis
from msgspec.structs import replace
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.binaries import redis_binaries
from tests.proxy import Proxy
from tests.redis_groups import RedisCluster, RedisSentinel
from tests.redis_support import still_loading
from tests.servers import RedisServer, wait_until
from webhook_dedup.errors import ConfigError, StoreError, StoreUnavailable
from webhook_dedup.model import Bid, Outcome, Settlement, new_token
from webhook_dedup.stores.redis import RedisStore
from webhook_dedup.stores.redis.values import redis_key
from webhook_dedup.testing.store_rules.case import a_key, claim, complete, release, renew

HANG = 20.0
"""Seconds after which a call that should have failed counts as hanging."""


def several(number=3, lease=600.0):
    return [Bid(a_key(str(index)), new_token(), lease) for index in range(number)]


@pytest.fixture
async def proxy(redis_url):
    async with Proxy.to(redis_url) as proxy:
        yield proxy


@pytest.fixture
async def store(redis_url, proxy):
    """A store behind the proxy, started, that does not wait long for answers."""
    store = RedisStore.from_url(proxy.through(redis_url), timeout=0.5)
    await store.start()
    yield store
    await store.aclose()


@pytest.fixture
async def other(redis_url):
    """A store beside the proxy, for another process's view."""
    store = RedisStore.from_url(redis_url)
    yield store
    await store.aclose()


async def test_lost_reply_of_one_claim(store, proxy, other):
    """A claim whose reply was lost is asked again under the same token, and is fresh."""
    held = await claim(store, a_key())
    assert await release(store, held)
    lost = proxy.swallow_next_reply(held.key.encode())
    again = await claim(store, held.key)
    assert lost.is_set()
    assert again.fresh
    assert 0 < again.remaining <= 600
    assert (await claim(other, held.key)).outcome is Outcome.IN_FLIGHT


async def test_lost_reply_of_several_claims(store, proxy, other):
    """A batch whose reply was lost is asked again and is fresh throughout."""
    bids = several()
    lost = proxy.swallow_next_reply(bids[1].key.encode())
    assert all(held.fresh for held in await store.claim(bids))
    assert lost.is_set()
    for bid in bids:
        assert (await claim(other, bid.key)).outcome is Outcome.IN_FLIGHT


@pytest.mark.parametrize("verb", [complete, release, renew])
async def test_lost_reply_of_a_settlement(store, proxy, verb):
    """A settlement whose reply was lost is asked again and still answers yes."""
    held = await claim(store, a_key())
    lost = proxy.swallow_next_reply(held.key.encode())
    assert await verb(store, held)
    assert lost.is_set()


async def test_lost_reply_on_a_client_that_does_not_retry(redis_url, proxy):
    """When the client gives up, the caller's own repetition is recognised by its token."""
    url = proxy.through(redis_url)
    async with aioredis.from_url(url, retry=Retry(NoBackoff(), 0)) as client:
        store = RedisStore(client)
        await store.start()
        bids = several()
        proxy.swallow_next_reply(bids[0].key.encode())
        with pytest.raises(StoreUnavailable):
            await store.claim(bids)
        assert all(held.fresh for held in await store.claim(bids))


async def test_scripts_are_loaded_again(redis_server):
    """A server that has forgotten the scripts is given them again, for one key and for many."""
    store = RedisStore.from_url(redis_server.url)
    await store.start()
    with redis_server.client() as look:
        for bids in (several(1), several()):
            for call in (
                lambda held: store.complete([Settlement(each, 60, None) for each in held]),
                store.release,
                lambda held: store.renew(held, 60),
            ):
                look.script_flush()
                held = await store.claim(bids)
                assert all(each.fresh for each in held)
                look.script_flush()
                assert all(await call(held))
                look.flushdb()
    await store.aclose()


async def test_scripts_are_loaded_again_in_a_cluster(redis_cluster):
    """Every node of a cluster is given the scripts when it needs them."""
    store = RedisStore.from_url(redis_cluster.url.replace("redis:", "redis+cluster:"))
    held = await store.claim(several(20))
    for node in redis_cluster.nodes:
        with node.client() as look:
            look.script_flush()
    assert all(await store.renew(held, 60))
    await store.aclose()


async def test_server_that_comes_back(redis_server):
    """While the server is away the store says so; afterwards the same store works."""
    store = RedisStore.from_url(redis_server.url)
    held = await claim(store, a_key())
    redis_server.stop()
    for bids in (several(1), several()):
        with pytest.raises(StoreUnavailable, match=f"{redis_server.port}"):
            await store.claim(bids)
    with pytest.raises(StoreUnavailable):
        await complete(store, held)
    redis_server.start()
    assert await complete(store, held)
    assert all(each.fresh for each in await store.claim(several()))
    assert (await claim(store, a_key())).fresh
    await store.aclose()


async def test_server_that_still_loads_its_data():
    """Until it has read what it had written it is away, and nobody is sent to look for it."""
    async with still_loading() as url:
        store = RedisStore.from_url(url)
        with pytest.raises(
            StoreUnavailable, match=f"{url.rpartition(':')[2]} is still loading its data"
        ):
            await claim(store, a_key())
        await store.aclose()


async def test_store_starts_when_its_server_does(redis_server):
    """A start that failed for want of a server is repeated with success when there is one."""
    redis_server.stop()
    store = RedisStore.from_url(redis_server.url)
    outcomes = await asyncio.gather(*(store.start() for _ in range(5)), return_exceptions=True)
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    redis_server.start()
    assert (await claim(store, a_key())).fresh
    await store.start()
    await store.aclose()


async def test_silent_server(redis_server):
    """A frozen server is reported, not waited for, and its late work is recognised."""
    store = RedisStore.from_url(redis_server.url, timeout=0.3)
    await store.start()
    redis_server.pause()
    bids = several()
    for call in (store.claim(bids), store.claim(bids[:1])):
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(call, HANG)
    redis_server.resume()
    assert all(held.fresh for held in await store.claim(bids))
    await store.aclose()


async def test_silent_server_at_start(redis_server):
    """A server that takes connections and says nothing fails the start."""
    redis_server.pause()
    store = RedisStore.from_url(redis_server.url, timeout=0.3)
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(store.start(), HANG)
    await store.aclose()


async def test_cluster_node_that_comes_back(redis_cluster):
    """A batch fails while a node of its cluster is away, and succeeds with the same store later."""
    url = redis_cluster.url.replace("redis:", "redis+cluster:")
    store = RedisStore.from_url(url)
    held = await store.claim(several(20))
    assert all(each.fresh for each in held)
    node = redis_cluster.nodes[-1]
    node.stop()
    try:
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(store.renew(held, 600), HANG)
    finally:
        node.start()
    wait_until(lambda: is_whole(redis_cluster), what="the cluster after a node came back")
    bids = [Bid(each.key, each.token, 600) for each in held]
    assert all(each.fresh for each in await store.claim(bids))
    await store.aclose()


def is_whole(cluster):
    for node in cluster.nodes:
        with node.client() as look:
            if "cluster_state:ok" not in str(look.execute_command("CLUSTER", "INFO")):
                return False
    return True


@pytest.mark.parametrize("size", [1, 3])
async def test_cancelled_callers_harm_nobody(store, proxy, size):
    """However a caller is cancelled, the next one reads its own reply."""
    proxy.delay = 0.002
    chance = random.Random(size)
    for _ in range(60):
        given_up = asyncio.ensure_future(store.claim(several(size)))
        await asyncio.sleep(chance.random() * 0.006)
        given_up.cancel()
        bids = several(size)
        held = await store.claim(bids)
        assert [each.key for each in held] == [bid.key for bid in bids]
        assert all(each.fresh for each in held)
        assert all(await store.complete([Settlement(each, 60, None) for each in held]))
        again = await store.claim([Bid(bid.key, new_token(), 60) for bid in bids])
        assert [each.holder for each in again] == [bid.token for bid in bids]
        await asyncio.gather(given_up, return_exceptions=True)


async def test_cancelled_start_is_not_everyones(redis_server):
    """A caller who gives up while the store starts does not fail those who wait with it."""
    redis_server.pause()
    store = RedisStore.from_url(redis_server.url)
    impatient = asyncio.ensure_future(store.start())
    patient = asyncio.ensure_future(claim(store, a_key()))
    await asyncio.sleep(0.01)
    impatient.cancel()
    redis_server.resume()
    assert (await patient).fresh
    await store.aclose()


async def test_more_callers_than_connections(redis_url):
    """Thousands of claims at once wait their turn, on the default pool of a client too."""
    async with aioredis.from_url(redis_url, max_connections=4) as client:
        for store in (RedisStore.from_url(redis_url), RedisStore(client)):
            held = await asyncio.gather(*(claim(store, a_key()) for _ in range(2000)))
            assert all(each.fresh for each in held)
            await store.aclose()


@pytest.mark.parametrize("wrong", [-3600.0, 3600.0])
async def test_wrong_clock_of_the_client(redis_url, other, monkeypatch, wrong):
    """Times come from the server, so a client an hour off tells them as well as any."""
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + wrong)
    store = RedisStore.from_url(redis_url)
    for _ in range(2):  # the first may learn the time
        held = await claim(store, a_key(), lease=30)
        assert abs(held.first_seen - right()) < 60
        seen = await claim(other, held.key)
        assert abs(seen.first_seen - held.first_seen) < 0.01
        assert 0 < seen.remaining <= 30
        assert await complete(store, held, ttl=100)
        done = await claim(store, held.key)
        assert 0 < done.remaining <= 100.01
        assert abs(done.first_seen - held.first_seen) < 0.01
    await store.aclose()


@pytest.mark.parametrize("calls", [[1], [3], [3, 1]])
async def test_slow_answers_do_not_bend_time(redis_url, proxy, other, calls):
    """First-seen times stay right when the network makes the server's clock hard to read."""
    proxy.delay = 0.3
    store = RedisStore.from_url(proxy.through(redis_url))
    for size in calls:
        await store.claim(several(size))
    proxy.delay = 0.0
    for _ in range(2):
        before = await claim(other, a_key())
        held = await claim(store, a_key())
        after = await claim(other, a_key())
        assert before.first_seen - 0.02 <= held.first_seen <= after.first_seen + 0.02
    await store.aclose()


async def test_token_that_begins_like_the_holders(store):
    """Only the whole token ends a claim, not the beginning of it."""
    held = await claim(store, a_key(), token="event-10")
    stranger = replace(held, token="event-1")
    for verb in (complete, release, renew):
        assert not await verb(store, stranger)
    assert await complete(store, held)
    assert not await complete(store, stranger)


async def test_completion_of_a_claim_that_does_not_tell_its_time(store, other):
    """A claim made without its time is completed, also when its lease has run out meanwhile."""
    held = await claim(store, a_key(), token="two words - 1")
    for key in (held.key, a_key("gone")):
        untimed = replace(held, key=key, first_seen=None, fingerprint=b"other")
        assert await complete(store, untimed)
        done = await claim(other, key)
        assert (done.outcome, done.holder) == (Outcome.DUPLICATE, held.token)
        assert abs(done.first_seen - held.first_seen) < 60


async def test_completion_by_a_claim_that_does_not_tell_its_bid(store, other):
    """What was stored at the bid outlives a completion by a claim that has lost it."""
    held = await claim(store, a_key(), fingerprint=b"body")
    assert await complete(store, replace(held, first_seen=None, fingerprint=None))
    again = await claim(other, held.key, fingerprint=b"changed")
    assert again.outcome is Outcome.MISMATCH
    assert again.first_seen == pytest.approx(held.first_seen, abs=0.001)


@pytest.mark.parametrize(
    "command",
    [("SET", "a plain string"), ("SET", ""), ("SET", "held by someone"), ("LPUSH", "an element")],
    ids=["string", "empty", "likeness", "list"],
)
@pytest.mark.parametrize("neighbours", [0, 2])
async def test_foreign_value(store, redis_url, command, neighbours):
    """A key that someone else writes is named in an error, and never overwritten."""
    bids = several(1 + neighbours)
    name = redis_key("webhook_dedup:", bids[0].key)
    async with aioredis.from_url(redis_url) as client:
        await client.execute_command(command[0], name, command[1])
        kept = await client.dump(name)
        with pytest.raises(StoreError, match=bids[0].key) as caught:
            await store.claim(bids)
        assert not isinstance(caught.value, StoreUnavailable)
        assert await client.dump(name) == kept
        await client.delete(name)


async def test_foreign_value_at_settlement(store, redis_url):
    """A settlement that finds someone else's value under its key says so and leaves it."""
    held = await claim(store, a_key())
    name = redis_key("webhook_dedup:", held.key)
    async with aioredis.from_url(redis_url) as client:
        await client.set(name, "something else")
        for verb in (complete, release, renew):
            with pytest.raises(StoreError, match=held.key):
                await verb(store, held)
        assert await client.getdel(name) == b"something else"


async def test_full_server(redis_server, caplog):
    """A server without room refuses claims and says what to do; held ones can be released."""
    store = RedisStore.from_url(redis_server.url)
    held = await claim(store, a_key())
    with redis_server.client() as look:
        look.config_set("maxmemory", "1")
    for bids in (several(1), several()):
        with pytest.raises(StoreUnavailable, match="maxmemory"):
            await store.claim(bids)
    assert await release(store, held)
    await store.aclose()
    assert not caplog.records


@pytest.mark.parametrize("count", [1, 3])
async def test_full_server_takes_completions(redis_server, count):
    """What has run is marked done, so that its deliveries leave the inbox and make room."""
    store = RedisStore.from_url(redis_server.url)
    held = await store.claim(several(count))
    expired = await store.claim(several(count, lease=0.001))
    await asyncio.sleep(0.01)
    with redis_server.client() as look:
        look.config_set("maxmemory", "1")
    for claims in (held, expired):
        done = [Settlement(each, 60.0, b"result") for each in claims]
        for _ in range(2):
            assert all(await store.complete(done))
        found = await store.look([each.key for each in claims])
        assert [(each.done, each.result) for each in found] == [(True, b"result")] * count
        assert all(0 < each.remaining <= 60.0 for each in found)
    await store.aclose()


async def test_evicting_server(redis_server, caplog):
    """A server that evicts is warned of at start-up, with what to set."""
    with redis_server.client() as look:
        look.config_set("maxmemory", "100mb")
        look.config_set("maxmemory-policy", "allkeys-lru")
    store = RedisStore.from_url(redis_server.url)
    await store.start()
    await store.start()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("webhook_dedup", logging.WARNING)
    assert "maxmemory-policy noeviction" in record.getMessage()
    await store.aclose()


async def test_replica(redis_server):
    """A replica refuses claims as unavailable: a fail-over may be under way."""
    with RedisServer(redis_server.binary) as replica:
        with replica.client() as look:
            look.replicaof("127.0.0.1", redis_server.port)
        store = RedisStore.from_url(replica.url)
        for bids in (several(1), several()):
            with pytest.raises(StoreUnavailable):
                await store.claim(bids)
        await store.aclose()


async def test_cluster_node_by_the_wrong_scheme(redis_cluster):
    """A cluster's node that is given as a plain server is told apart, with what to write."""
    store = RedisStore.from_url(redis_cluster.url)
    with pytest.raises(StoreError, match=r"redis\+cluster://"):
        await store.claim(several(20))
    await store.aclose()


async def test_cluster_that_looks_like_one_server(redis_binary):
    """Where one server owns every slot and still asks for one slot a script, batches work."""
    with RedisCluster(redis_binary, size=1) as cluster:
        store = RedisStore.from_url(cluster.url)
        held = await store.claim(several(20))
        assert all(each.fresh for each in held)
        assert all(await store.release(held))
        await store.aclose()


async def test_limited_user(redis_server):
    """A user with the least rights works; one without them is told which are missing."""
    needed = ("set", "get", "del", "pttl", "pexpire", "time", "eval", "evalsha", "ping", "select")
    rights = [f"+{command}" for command in needed]
    with redis_server.client() as look:
        look.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~webhook_dedup:*", *rights)
        look.execute_command("ACL", "SETUSER", "guest", "on", ">pw", "~*", "+ping", "+select")
    address = redis_server.url.removeprefix("redis://")
    store = RedisStore.from_url(f"redis://app:pw@{address}")
    await store.start()
    held = await store.claim(several())
    one = await claim(store, a_key())
    assert all(await store.renew(held, 60))
    assert all(await store.release(held))
    assert await complete(store, one)
    assert await store.forget(one.key)
    await store.aclose()
    store = RedisStore.from_url(f"redis://guest:pw@{address}")
    with pytest.raises(ConfigError, match=r"\+evalsha"):
        await store.start()
    await store.aclose()


@pytest.mark.parametrize("login", [":s3cret@", "app:s3cret@"])
async def test_wrong_password(redis_server, login):
    """A wrong password fails the start with a remedy, and is not shown."""
    with redis_server.client() as look:
        look.config_set("requirepass", "another")
    store = RedisStore.from_url(redis_server.url.replace("redis://", f"redis://{login}"))
    with pytest.raises(ConfigError, match="check user name and password") as caught:
        await store.start()
    assert "s3cret" not in f"{caught.value}{caught.value.__cause__}{store!r}"
    with pytest.raises(StoreError, match="check user name and password"):
        await claim(store, a_key())
    await store.aclose()


async def test_database_that_does_not_exist(redis_url):
    """A database number beyond the server's fails the start and is named."""
    store = RedisStore.from_url(redis_url.rsplit("/", 1)[0] + "/9999")
    with pytest.raises(ConfigError, match=r"9999.*DB index is out of range"):
        await store.start()
    await store.aclose()


async def test_fail_over_in_a_cluster():
    """After a silent node has been replaced, the same store finds its keys at the replica."""
    with RedisCluster(redis_binaries()[-1]) as cluster, a_replica(cluster) as replica:
        url = cluster.url.replace("redis:", "redis+cluster:")
        store = RedisStore.from_url(url, timeout=1)
        held = await store.claim(several(20))
        with cluster.nodes[-1].client() as look:
            assert look.wait(1, 5000) == 1
        cluster.nodes[-1].pause()
        wait_until(lambda: replica.info("replication")["role"] == "master", what="the fail-over")
        assert all(await repeated(store.renew, held, 600))
        await store.aclose()


@contextmanager
def a_replica(cluster):
    """One more server, which takes the last node's place when that dies."""
    with RedisServer(cluster.nodes[0].binary, cluster_enabled=True) as server:
        for node in cluster.nodes:
            with node.client() as look:
                look.config_set("cluster-node-timeout", 1000)
        with server.client() as look, cluster.nodes[-1].client() as master:
            look.config_set("cluster-node-timeout", 1000)
            look.execute_command("CLUSTER", "MEET", "127.0.0.1", cluster.nodes[-1].port)
            name = master.execute_command("CLUSTER", "MYID").decode()
            wait_until(lambda: name in str(look.execute_command("CLUSTER", "NODES")), what="a meet")
            look.execute_command("CLUSTER", "REPLICATE", name)
            wait_until(
                lambda: look.info("replication")["master_link_status"] == "up", what="a replica"
            )
            yield look


async def repeated(verb, *arguments):
    """Ask until the store is there, as the engine does."""
    for _ in range(200):
        try:
            return await verb(*arguments)
        except StoreUnavailable:
            await asyncio.sleep(0.1)
    raise AssertionError("the store never came back")


async def test_fail_over():
    """After Sentinel has made a replica the master, the same store goes on with what it got."""
    with RedisSentinel(redis_binaries()[-1], replicas=1) as group:
        host, port = group.address
        url = f"redis+sentinel://{host}:{port}/{group.service}"
        store = RedisStore.from_url(url, timeout=1)
        held = await claim(store, a_key())
        with group.master.client() as look:
            look.set("later", "than the claim")  # it is this client's writes that are waited for
            assert look.wait(1, 5000) == 1
        group.master.kill()
        bid = Bid(a_key(), new_token(), 60)
        claims = await repeated(store.claim, [bid])
        assert claims[0].fresh
        assert (await claim(store, held.key)).outcome is Outcome.IN_FLIGHT
        assert await complete(store, held)
        await store.aclose()
