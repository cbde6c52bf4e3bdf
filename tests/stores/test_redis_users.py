"""Users with few rights: the documented ones are enough, and what is missing is named."""

import re
from pathlib import Path

import pytest
from redis import ResponseError

from webhook_dedup.backends.redis.faults import translate
from webhook_dedup.contracts import Sought
from webhook_dedup.errors import ConfigError, StoreError
from webhook_dedup.inbox.redis import RedisInbox
from webhook_dedup.inbox.redis.table import base_of
from webhook_dedup.model import Bid, new_token
from webhook_dedup.stores.redis import RedisStore
from webhook_dedup.testing.inbox_rules.case import an_attempt, an_item
from webhook_dedup.testing.store_rules.case import LONG_LEASE, a_key, complete, release, renew

PAGE = Path(__file__).parents[2] / "docs" / "stores" / "redis.md"


def documented():
    """The rights in the table of the page, without those of the history."""
    table = PAGE.read_text().partition("## Users with few rights")[2].partition("History")[0]
    rights = re.findall(r"^\| .* \| `([~+].*)` \|$", table, re.MULTILINE)
    return ["on", ">password", *" ".join(rights).replace("\\|", "|").split()]


def admit(node, *rights):
    with node.client() as look:
        look.execute_command("ACL", "SETUSER", "webhooks", "reset", *rights)


def login(url, scheme):
    return re.sub("^redis://", f"{scheme}://webhooks:password@", url)


async def use_claims(url):
    store = RedisStore.from_url(url)
    await store.start()
    for number in (1, 3):
        held = await store.claim([Bid(a_key(), new_token(), LONG_LEASE) for _ in range(number)])
        assert await renew(store, held[0])
        assert all(await store.release(held[1:])) if number > 1 else True
        assert await complete(store, held[0])
        assert await store.look([held[0].key])
        assert await store.forget(held[0].key)
    again = await store.claim([Bid(a_key(), new_token(), LONG_LEASE)])
    assert await release(store, again[0])
    await store.aclose()


async def use_inbox(url):
    inbox = RedisInbox.from_url(url)
    await inbox.start()
    items = [an_item(key=a_key()) for _ in range(5)]
    await inbox.put(items, 0.0)
    taken = await inbox.take(5, LONG_LEASE)
    assert len(taken) == len(items)
    assert all(await inbox.renew(taken, LONG_LEASE))
    assert all(await inbox.begin(taken))
    await inbox.done(taken[:1])
    assert await inbox.retry(taken[1], LONG_LEASE, an_attempt())
    assert await inbox.defer(taken[2], LONG_LEASE)
    assert await inbox.bury(taken[3], an_attempt())
    assert await inbox.shelve([taken[4].id], "broken") == 1
    assert len(await inbox.find(Sought())) == await inbox.count(Sought()) == 4
    assert await inbox.requeue([taken[3].id]) == 1
    assert await inbox.next_due() == 0
    assert await inbox.purge([item.id for item in items]) == 4
    await inbox.aclose()


async def test_the_documented_rights_are_enough(redis_server):
    """A server that forbids everything else takes claims and deliveries."""
    admit(redis_server, *documented())
    await use_claims(login(redis_server.url, "redis"))
    await use_inbox(login(redis_server.url, "redis"))


async def test_they_are_enough_in_a_cluster(redis_cluster):
    """So does a Cluster."""
    for node in redis_cluster.nodes:
        admit(node, *documented())
    url = login(redis_cluster.url, "redis+cluster")
    await use_claims(url)
    await use_inbox(url)
    for node in redis_cluster.nodes:
        admit(node, *[word for word in documented() if word != "+cluster|slots"])
    store = RedisStore.from_url(url)
    with pytest.raises(ConfigError, match=r"\+cluster\|slots"):
        await store.start()
    await store.aclose()


async def test_keys_of_another_prefix(redis_server):
    """A user of other keys is told that it is those, too, that are to be allowed."""
    admit(redis_server, *documented(), "resetkeys", "~other:*")
    store = RedisStore.from_url(login(redis_server.url, "redis"))
    with pytest.raises(ConfigError, match=r"~webhook_dedup:\*"):
        await store.start()
    await store.aclose()


@pytest.mark.parametrize(
    ("room", "lacking"),
    [
        (RedisStore, ["-time"]),
        (RedisStore, ["-get"]),
        (RedisInbox, ["-@sortedset"]),
        (RedisInbox, ["resetkeys", f"~{base_of('webhook_dedup:').decode()}"]),
    ],
)
async def test_what_a_script_lacks(redis_server, room, lacking):
    """A command or a key that is forbidden to a script is named as one outside of it is."""
    admit(redis_server, *documented(), *lacking)
    started = room.from_url(login(redis_server.url, "redis"))
    with pytest.raises(ConfigError, match=r"forbids this user a command or a key.* \+@sortedset"):
        await started.start()
    await started.aclose()


@pytest.mark.parametrize(
    "said",
    [
        "The user executing the script can't access at least one of the keys mentioned",
        "ACL failure in script: No permissions to access a key",
        "user_script:23: ERR ACL failure in script: User me has no permissions to run the 'set'",
    ],
)
def test_what_servers_call_a_script_that_lacks_a_right(said):
    """Redis before 7.2 and Valkey 9 have words for it, and no code."""
    error = translate(ResponseError(said), "Redis")
    assert "forbids this user a command or a key" in str(error)


async def test_a_refused_completion_frees_nothing(redis_server):
    """Where the server forbids to mark an event done, it stays claimed."""
    admit(redis_server, *documented())
    store = RedisStore.from_url(login(redis_server.url, "redis"))
    (held,) = await store.claim([Bid(a_key(), new_token(), LONG_LEASE)])
    admit(redis_server, *documented(), "-set")
    with pytest.raises(StoreError, match="forbids this user a command"):
        await complete(store, held)
    assert await renew(store, held)
    await store.aclose()


async def test_a_server_that_is_no_cluster(redis_url):
    """A plain server by the scheme of a Cluster is told apart, with what to write."""
    store = RedisStore.from_url(redis_url.replace("redis:", "redis+cluster:"))
    with pytest.raises(ConfigError, match="write redis://"):
        await store.start()
    await store.aclose()
