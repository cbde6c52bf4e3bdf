"""Commands packed by hand: what goes over the wire, and when redis-py is left to send."""

from redis.asyncio import Redis

from tests.stores.sql_support import bids, outcomes
from webhook_dedup.backends.redis.exchange import packed
from webhook_dedup.model import Outcome
from webhook_dedup.stores.redis import RedisStore


def test_words_of_every_kind_are_packed_as_bytes():
    """Text, bytes and numbers go with their lengths in bytes, blanks and line ends included."""
    command = ["SET", b"k\r\n \xff", "\u00e9", 0, ""]
    assert packed(command) == (
        b"*5\r\n$3\r\nSET\r\n$5\r\nk\r\n \xff\r\n$2\r\n\xc3\xa9\r\n$1\r\n0\r\n$0\r\n\r\n"
    )


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
