"""What the Redis inbox does when replies are lost, servers go away and rows are spoilt."""

import asyncio
import logging

import pytest
import redis.asyncio as aioredis

from tests import redis_support
from tests.proxy import Proxy
from tests.redis_groups import RedisCluster
from tests.servers import DURABLE, RedisServer
from webhook_dedup.contracts import Sought
from webhook_dedup.errors import ConfigError, StoreError, StoreUnavailable
from webhook_dedup.inbox.redis import RedisInbox
from webhook_dedup.model import Bid, new_token
from webhook_dedup.stores.redis import RedisStore
from webhook_dedup.testing.inbox_rules.case import (
    FENCED,
    a_grave,
    a_taken,
    an_attempt,
    an_item,
    begin,
    known,
    nothing_is_due,
    put,
    renew,
    take_one,
)

prefix = redis_support.prefix

HANG = 20.0
"""Seconds after which a call that should have failed counts as hanging."""
LONG = 600.0
SHORT = 0.5
EVICTS = ("--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru")


@pytest.fixture
async def proxy(redis_url):
    async with Proxy.to(redis_url) as proxy:
        yield proxy


@pytest.fixture
async def inbox(redis_url, proxy, prefix):
    """An inbox behind the proxy, started, that does not wait long for answers."""
    inbox = RedisInbox.from_url(proxy.through(redis_url), prefix=prefix, timeout=SHORT)
    await inbox.start()
    await have_scripts_loaded(inbox)
    yield inbox
    await inbox.aclose()


@pytest.fixture
async def own(redis_server):
    """An inbox on a server of the test's own."""
    inbox = RedisInbox.from_url(redis_server.url, timeout=SHORT)
    yield inbox
    await inbox.aclose()


async def have_scripts_loaded(inbox):
    """Call every verb, or the reply that gets lost may be that the script is not known yet."""
    item = await put(inbox, an_item(), 0.0)
    assert len(await inbox.take(1, LONG)) == 1
    for verb in FENCED.values():
        assert not await verb(inbox, item)
    assert await inbox.shelve([item.id], "") == 1
    await inbox.done([item])


def lose(proxy, item):
    return proxy.swallow_next_reply(item.token.encode())


async def test_lost_reply_of_put(inbox, proxy):
    """Items whose recording was not confirmed are recorded once, by the same call."""
    items = [an_item() for _ in range(3)]
    lost = lose(proxy, items[1])
    await inbox.put(items, 0.0)
    assert lost.is_set()
    assert all(await inbox.begin(items))
    await inbox.put(items, LONG)
    assert all(each.attempts == 1 for each in await inbox.find(Sought()))
    assert len(await inbox.take(10, LONG)) == await inbox.count(Sought()) == 3


async def test_lost_reply_of_take(inbox, proxy, prefix):
    """What was taken without the taker's knowledge comes due again after the lease."""
    item = await put(inbox, an_item(body=b"\0\xff"), 0.0)
    lost = proxy.swallow_next_reply(prefix.encode())
    assert not await inbox.take(10, SHORT)
    assert lost.is_set()
    await asyncio.sleep(await inbox.next_due())
    taken = await inbox.take(10, LONG)
    assert [each.delivery for each in taken] == [item.delivery]


async def test_lost_reply_of_begin(inbox, proxy):
    """An attempt whose counting was not confirmed is counted once."""
    item = await a_taken(inbox, LONG)
    lost = lose(proxy, item)
    assert await begin(inbox, item)
    assert lost.is_set()
    assert (await known(inbox, item)).attempts == 1


async def test_lost_reply_of_renew(inbox, proxy):
    """A renewal that was not confirmed is made again."""
    item = await a_taken(inbox, LONG)
    lost = lose(proxy, item)
    assert await renew(inbox, item, LONG)
    assert lost.is_set()


async def test_lost_reply_of_done(inbox, proxy):
    """A settlement that was not confirmed is repeated without an error."""
    grave = await a_grave(inbox, key="key")
    item = await put(inbox, an_item(key="key"), LONG)
    lost = proxy.swallow_next_reply(item.id.encode())
    await inbox.done([item])
    assert lost.is_set()
    assert [await inbox.get(each.id) for each in (item, grave)] == [None, None]


async def test_lost_reply_of_retry(inbox, proxy):
    """A retry that was not confirmed enters the history once and is confirmed at last."""
    item = await a_taken(inbox, LONG)
    assert await begin(inbox, item)
    lost = lose(proxy, item)
    assert await inbox.retry(item, 0.0, an_attempt())
    assert lost.is_set()
    taken = await take_one(inbox, LONG)
    assert (taken.attempts, taken.history) == (1, (an_attempt(),))


async def test_lost_reply_of_defer(inbox, proxy):
    """A deferral that was not confirmed takes back one attempt and not two."""
    item = await a_taken(inbox, LONG)
    assert await begin(inbox, item)
    assert await inbox.retry(item, 0.0, an_attempt())
    item = await take_one(inbox, LONG)
    assert await begin(inbox, item)
    lost = lose(proxy, item)
    assert await inbox.defer(item, 0.0)
    assert lost.is_set()
    assert (await known(inbox, item)).attempts == 1


async def test_lost_reply_of_bury(inbox, proxy):
    """A burial that was not confirmed enters the history once and is confirmed at last."""
    item = await a_taken(inbox, LONG)
    lost = lose(proxy, item)
    assert await inbox.bury(item, an_attempt())
    assert lost.is_set()
    kept = await known(inbox, item)
    assert (kept.dead, kept.history) == (True, (an_attempt(),))


async def test_lost_reply_of_shelve(inbox, proxy):
    """A person is told how many items were set aside, though the first answer was lost."""
    item = await put(inbox, an_item(), LONG)
    lost = proxy.swallow_next_reply(item.id.encode())
    assert await inbox.shelve([item.id], "stop") == 1
    assert lost.is_set()
    assert len((await known(inbox, item)).history) == 1


async def test_outage(redis_server, own):
    """While the server is away every verb says so; afterwards the same inbox works."""
    item = await put(own, an_item(), LONG)
    redis_server.stop()
    calls = (
        lambda: own.put([an_item()], LONG),
        lambda: own.take(1, LONG),
        lambda: own.begin([item]),
        lambda: own.renew([item], LONG),
        lambda: own.done([item]),
        lambda: own.retry(item, 0.0, an_attempt()),
        lambda: own.defer(item, 0.0),
        lambda: own.bury(item, an_attempt()),
        own.next_due,
        own.start,
        lambda: own.find(Sought()),
        lambda: own.count(Sought()),
        lambda: own.requeue([item.id]),
    )
    for call in calls:
        with pytest.raises(StoreUnavailable, match=f"{redis_server.port}"):
            await asyncio.wait_for(call(), HANG)
    redis_server.start()
    await own.start()
    item = await put(own, an_item(), 0.0)
    assert (await take_one(own, LONG)).delivery == item.delivery


async def test_silent_server(redis_server, own):
    """A frozen server is reported, not waited for; what it records late is recorded once."""
    await own.start()
    redis_server.pause()
    item = an_item()
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(own.put([item], 0.0), HANG)
    redis_server.resume()
    await own.put([item], 0.0)
    assert (await take_one(own, LONG)).delivery == item.delivery
    assert await nothing_is_due(own)


async def test_scripts_are_loaded_again(redis_server, own):
    """A server that has forgotten the scripts is given them again."""
    item = await put(own, an_item(), 0.0)
    with redis_server.client() as look:
        look.script_flush()
        taken = await take_one(own, LONG)
        look.script_flush()
        await own.done([taken])
    assert await own.get(item.id) is None


async def put_until_killed(inbox, enough):
    """Put items of several sizes until the server is gone; return those that were confirmed."""
    confirmed = []
    while True:
        if len(confirmed) == 50:
            enough.set()
        item = an_item(body=bytes([255, len(confirmed) % 256]) * 3_919 * (len(confirmed) % 20))
        try:
            await inbox.put([item], 0.0)
        except StoreUnavailable:
            return confirmed
        confirmed.append(item)


async def test_killed_server_keeps_what_it_confirmed(redis_binary):
    """After SIGKILL under load every item whose put returned is there, byte for byte."""
    with RedisServer(redis_binary, args=DURABLE) as server:
        inbox = RedisInbox.from_url(server.url)
        await inbox.start()
        assert inbox.durable
        enough = asyncio.Event()
        writers = [asyncio.ensure_future(put_until_killed(inbox, enough)) for _ in range(8)]
        await enough.wait()
        server.kill()
        confirmed = [item for items in await asyncio.gather(*writers) for item in items]
        server.start()
        taken = {}
        while some := await inbox.take(100, LONG):
            taken |= {item.id: item.delivery for item in some}
        assert len(confirmed) >= 50
        assert {item.id: taken[item.id] for item in confirmed} == {
            item.id: item.delivery for item in confirmed
        }
        await inbox.aclose()


@pytest.mark.parametrize(
    ("args", "remedies"),
    [
        ((), ["appendonly yes", "appendfsync always"]),
        (DURABLE[:2], ["appendfsync always"]),
        (DURABLE[2:], ["appendonly yes"]),
        (DURABLE + EVICTS, ["maxmemory-policy noeviction"]),
    ],
    ids=["nothing", "everysec", "no file", "evicts"],
)
async def test_server_that_forgets(redis_binary, caplog, args, remedies):
    """One WARNING names exactly what is to be set, however often the inbox is started."""
    with RedisServer(redis_binary, args=args) as server:
        inbox = RedisInbox.from_url(server.url)
        await inbox.start()
        await inbox.start()
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("webhook_dedup", logging.WARNING)
        assert record.getMessage().endswith(f"set {', '.join(remedies)}")
        assert not inbox.durable
        await inbox.aclose()


@pytest.mark.parametrize(
    "args",
    [DURABLE, DURABLE + EVICTS[:2], DURABLE + EVICTS[2:]],
    ids=["no limit", "limit", "no limit to evict for"],
)
async def test_durable_server(redis_binary, caplog, args):
    """A server that syncs every write and evicts nothing is durable, without a word."""
    with RedisServer(redis_binary, args=args) as server:
        inbox = RedisInbox.from_url(server.url)
        assert not inbox.durable
        await inbox.start()
        assert inbox.durable
        assert not caplog.records
        await inbox.aclose()


async def test_cluster_that_forgets(redis_cluster, caplog):
    """A cluster is asked node by node, and told once what to set."""
    for node in redis_cluster.nodes[:2]:
        configure(node, {"appendfsync": "always"})
    inbox = RedisInbox.from_url(redis_cluster.url.replace("redis:", "redis+cluster:"))
    await inbox.start()
    (record,) = caplog.records
    assert record.getMessage().endswith("set appendonly yes, appendfsync always")
    assert not inbox.durable
    await inbox.aclose()


async def test_durable_cluster(redis_binary, caplog):
    """A cluster is durable when every primary of it is."""
    cluster = RedisCluster(redis_binary)
    for node in cluster.nodes:
        node._args += DURABLE
    with cluster:
        inbox = RedisInbox.from_url(cluster.url.replace("redis:", "redis+cluster:"))
        await inbox.start()
        assert inbox.durable
        assert not caplog.records
        await inbox.aclose()


def configure(server, settings):
    with server.client() as look:
        for name, value in settings.items():
            look.config_set(name, value)


async def test_limited_user(redis_server, caplog):
    """The least rights are enough to work, not to be called durable; missing ones are named."""
    rights = ("time", "eval", "evalsha", "@hash", "@sortedset", "@set", "unlink", "ping", "select")
    with redis_server.client() as look:
        may = [f"+{right}" for right in rights]
        look.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~webhook_dedup:*", *may)
        look.execute_command("ACL", "SETUSER", "guest", "on", ">pw", "~*", "+ping", "+select")
    address = redis_server.url.removeprefix("redis://")
    inbox = RedisInbox.from_url(f"redis://app:pw@{address}")
    await inbox.start()
    assert not inbox.durable
    assert "CONFIG GET" in caplog.text
    grave = await a_grave(inbox, key="key")
    assert await inbox.requeue([grave.id]) == 1
    item = await take_one(inbox, LONG)
    assert await begin(inbox, item)
    assert await inbox.bury(item, an_attempt())
    assert [each.id for each in await inbox.find(Sought(error="order"))] == [item.id]
    assert await inbox.count(Sought(older_than=1)) == 1
    await inbox.done([an_item(key="key")])
    assert await inbox.purge([item.id]) == 0
    await inbox.aclose()
    inbox = RedisInbox.from_url(f"redis://guest:pw@{address}")
    with pytest.raises(ConfigError, match=r"\+@sortedset"):
        await inbox.start()
    await inbox.aclose()


async def test_full_server(redis_server, own):
    """A server without room refuses new items; those it has are worked off all the same."""
    items = [await put(own, an_item(), 0.0) for _ in range(4)]
    configure(redis_server, {"maxmemory": "1"})
    with pytest.raises(StoreUnavailable, match="maxmemory"):
        await own.put([an_item()], LONG)
    first, second, third, fourth = await own.take(10, LONG)
    assert all(await own.begin([first, second]))
    assert await own.retry(first, LONG, an_attempt())
    assert await own.defer(second, LONG)
    assert all(await own.renew([third], LONG))
    assert await own.bury(fourth, an_attempt())
    assert await own.requeue([fourth.id]) == 1
    assert await own.shelve([fourth.id], "stop") == 1
    assert len(await own.find(Sought())) == 4
    await own.done(items[:2])
    assert await own.purge([item.id for item in items]) == 2
    configure(redis_server, {"maxmemory": "0"})
    await put(own, an_item(), LONG)


async def test_replica(redis_server, own):
    """A replica refuses as unavailable: a fail-over may be under way."""
    with RedisServer(redis_server.binary) as primary:
        configure(redis_server, {"replica-read-only": "yes"})
        with redis_server.client() as look:
            look.replicaof("127.0.0.1", primary.port)
        with pytest.raises(StoreUnavailable):
            await own.put([an_item()], LONG)
        with pytest.raises(StoreUnavailable):
            await own.take(1, LONG)
        with redis_server.client() as look:
            look.replicaof("NO", "ONE")


async def use_both(client, prefix):
    store, inbox = RedisStore(client, prefix=prefix), RedisInbox(client, prefix=prefix)
    await asyncio.gather(
        *(store.claim([Bid(str(number), new_token(), LONG)]) for number in range(100)),
        *(inbox.put([an_item()], LONG) for _ in range(100)),
    )
    assert await inbox.count(Sought()) == 100


async def test_one_client_for_store_and_inbox(redis_url, prefix):
    """A store and an inbox on one client never ask for more connections than it has."""
    async with aioredis.from_url(redis_url, max_connections=3) as client:
        await use_both(client, prefix)


@pytest.mark.parametrize("size", [1, 3])
async def test_one_client_of_a_cluster_for_store_and_inbox(redis_cluster, prefix, size):
    """Nor do they ask a node of a Cluster for more."""
    url = redis_cluster.url
    async with aioredis.RedisCluster.from_url(url, max_connections=size) as client:
        await use_both(client, prefix)


@pytest.fixture
async def raw(redis_url):
    async with aioredis.from_url(redis_url) as client:
        yield client


def key_of(prefix, rest):
    return f"{prefix}{{{prefix}inbox}}:{rest}"


@pytest.mark.parametrize(
    "spoilt",
    [
        {"head": b"\xff\xfe"},
        {"head": b"{}"},
        {"head": b"[]"},
        {"head": b'{"v":99}'},
        {"attempts": b"many"},
        {"cut_off": b"many"},
    ],
    ids=lambda spoilt: repr(next(iter(spoilt.values()))),
)
async def test_corrupt_row(inbox, raw, prefix, caplog, spoilt):
    """A row that cannot be read is set aside and can be looked at; its neighbours go on."""
    items = [await put(inbox, an_item(body=b"secret"), 0.0) for _ in range(3)]
    bad = items[1]
    await raw.hset(key_of(prefix, f"item:{bad.id}"), mapping=spoilt)
    assert (await known(inbox, bad)).id == bad.id
    caplog.clear()
    taken = await inbox.take(3, LONG)
    assert [each.id for each in taken] == [items[0].id, items[2].id]
    assert bad.id in caplog.text
    assert "secret" not in caplog.text
    (grave,) = await inbox.find(Sought(state="dead", source="github"))
    assert (grave.id, grave.dead, len(grave.history)) == (bad.id, True, 1)
    assert await inbox.purge([bad.id]) == 1


async def test_a_row_that_cannot_be_set_aside_now(inbox, raw, prefix, monkeypatch):
    """What was taken beside it is handed over, and not held for a lease by nobody."""
    bad, good = [await put(inbox, an_item(), 0.0) for _ in range(2)]
    await raw.hset(key_of(prefix, f"item:{bad.id}"), "head", "{}")

    async def away(*_):
        raise StoreUnavailable("told to fail")

    with monkeypatch.context() as patch:
        patch.setattr(inbox._table, "run", away)
        assert (await take_one(inbox, LONG)).id == good.id
    assert not (await known(inbox, bad)).dead


@pytest.mark.parametrize("field", ["head", "body", "key", "source"])
async def test_row_without_a_field(inbox, raw, prefix, field):
    """A row that lost a part is kept; only one without its delivery is set aside."""
    item = await put(inbox, an_item(), 0.0)
    await raw.hdel(key_of(prefix, f"item:{item.id}"), field)
    taken = await inbox.take(3, LONG, sources=["github"])
    assert len(taken) == (field in {"key", "source"})
    assert await inbox.count(Sought(state="dead")) == (field in {"head", "body"})


async def test_row_of_a_former_release(inbox, raw, prefix):
    """A row that began before cut off runs were counted is counted from there, never below 0."""
    item = await put(inbox, an_item(), 0.0)
    for number in (0, 1):
        taken = await take_one(inbox, LONG)
        assert (taken.attempts, taken.cut_off) == (number, 0)
        assert await begin(inbox, taken)
        assert await raw.hdel(key_of(prefix, f"item:{item.id}"), "cut_off")
        assert await inbox.retry(taken, 0.0, an_attempt())
    for number in (0, 1):
        taken = await take_one(inbox, 0.0)
        assert taken.cut_off == number
        assert await begin(inbox, taken)


async def test_corrupt_history(inbox, raw, prefix):
    """A history that cannot be read does not keep its delivery from running."""
    item = await put(inbox, an_item(), 0.0)
    await raw.hset(key_of(prefix, f"item:{item.id}"), "history", b"\xff\n{}\n[1,2]")
    taken = await take_one(inbox, LONG)
    assert taken.delivery == item.delivery
    assert len(taken.history) == 3
    assert await inbox.retry(taken, 0.0, an_attempt())
    assert (await take_one(inbox, LONG)).history[3] == an_attempt()


async def test_lost_rows_are_dropped(inbox, raw, prefix, caplog):
    """Ids without a row do not hide the items behind them, nor count as waiting for ever."""
    items = [an_item() for _ in range(20)]
    for item in items:
        await put(inbox, item, 0.0)
    for item in items[:15]:
        await raw.delete(key_of(prefix, f"item:{item.id}"))
    assert [each.id for each in await inbox.find(Sought(), limit=3)] == sorted(
        item.id for item in items[15:]
    )[:3]
    caplog.clear()
    taken = []
    while some := await inbox.take(3, LONG):
        taken += some
    assert not caplog.records
    assert [each.id for each in taken] == [item.id for item in items[15:]]
    assert await inbox.count(Sought()) == 5


async def test_lost_dead_letters_are_closed(inbox, raw, prefix):
    """Dead letters whose rows were lost count no more after their event is done, or a purge."""
    lost = await a_grave(inbox, key="key")
    purged = await a_grave(inbox, key="other")
    for grave in (lost, purged):
        await raw.delete(key_of(prefix, f"item:{grave.id}"))
    await inbox.done([an_item(key="key")])
    assert await inbox.purge([purged.id]) == 0
    states = ("waiting", "dead", None)
    assert [await inbox.count(Sought(state=state)) for state in states] == [0, 0, 0]
    assert not await raw.exists(key_of(prefix, "letters:key"))


async def test_lost_times_of_arrival(inbox, raw, prefix):
    """An item that the order of arrival lacks goes on, and is found when it is dead."""
    item = await a_taken(inbox, LONG)
    await raw.delete(key_of(prefix, "received"))
    assert await inbox.retry(item, 0.0, an_attempt())
    taken = await take_one(inbox, LONG)
    assert taken.delivery == item.delivery
    assert await inbox.bury(taken, an_attempt())
    assert [each.id for each in await inbox.find(Sought(state="dead"))] == [item.id]


async def test_nothing_is_left_behind(inbox, raw, prefix):
    """An inbox that was worked off takes no room, whatever befell its items."""
    graves = [await a_grave(inbox, key=key) for key in ("", "", "key", "key", "other")]
    assert await inbox.requeue([graves[0].id, graves[2].id]) == 2
    assert await inbox.purge([graves[1].id, graves[4].id]) == 2
    taken = await inbox.take(10, LONG)
    assert await inbox.shelve([taken[0].id], "stop") == 1
    await inbox.done([*taken, an_item(key="key")])
    assert not [key async for key in raw.scan_iter(f"{prefix}*")]


@pytest.mark.parametrize("sources", [None, ["github"]])
async def test_foreign_row(inbox, raw, prefix, caplog, sources):
    """A row's key that holds something else is named, and stays as it is."""
    item = await put(inbox, an_item(), 0.0)
    behind = await put(inbox, an_item(), 0.0)
    name = key_of(prefix, f"item:{item.id}")
    await raw.delete(name)
    await raw.set(name, "something else")
    for call in (
        lambda: inbox.put([item], LONG),
        lambda: inbox.begin([item]),
        lambda: inbox.renew([item], LONG),
        lambda: inbox.retry(item, LONG, an_attempt()),
        lambda: inbox.defer(item, LONG),
        lambda: inbox.bury(item, an_attempt()),
        lambda: inbox.done([item]),
        lambda: inbox.get(item.id),
        lambda: inbox.purge([item.id]),
    ):
        with pytest.raises(StoreError, match=item.id):
            await call()
    caplog.clear()
    assert [each.id for each in await inbox.find(Sought())] == [behind.id]
    assert [each.id for each in await inbox.take(10, LONG, sources=sources)] == [behind.id]
    assert name in caplog.text
    assert await raw.get(name) == b"something else"


async def test_foreign_hash(inbox, raw, prefix):
    """A hash of somebody else's is no item that was recorded before."""
    item = an_item()
    await raw.hset(key_of(prefix, f"item:{item.id}"), "colour", "red")
    with pytest.raises(StoreError, match=item.id):
        await inbox.put([item], LONG)


@pytest.mark.parametrize("index", ["due", "received", "dead"])
async def test_foreign_index(inbox, raw, prefix, index):
    """Where the inbox keeps its order and finds something else, it says where."""
    await raw.set(key_of(prefix, index), "something else")
    with pytest.raises(StoreError, match=index):
        await a_grave(inbox)
