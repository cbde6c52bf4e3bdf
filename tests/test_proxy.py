"""The proxy that the tests of lost replies rely on does what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from .proxy import Proxy


@pytest.fixture
async def proxy(redis_server) -> AsyncIterator[Proxy]:
    async with Proxy.to(redis_server.url) as proxy:
        yield proxy


@pytest.fixture
async def client(redis_server, proxy) -> AsyncIterator[redis.asyncio.Redis]:
    """A client behind the proxy that never repeats a command by itself."""
    client = redis.asyncio.Redis.from_url(
        proxy.through(redis_server.url), retry=Retry(NoBackoff(), 0)
    )
    async with client:
        yield client


def test_through_keeps_the_rest_of_a_url():
    """Only host and port are replaced."""
    proxy = Proxy.to("postgresql://user:p%40ss@localhost:5432/name?x=1")
    proxy.port = 1
    address = proxy.through("postgresql://user:p%40ss@localhost:5432/name?x=1")
    assert address == "postgresql://user:p%40ss@127.0.0.1:1/name?x=1"


async def test_passes_bytes(client):
    """Left alone, requests and replies go through."""
    assert await client.ping()


async def test_swallows_the_reply_to_one_request(proxy, client, redis_server):
    """The matching request is carried out, its reply lost, and the next one answered again."""
    lost = proxy.swallow_next_reply(containing=b"the-key")
    assert await client.set("another", 1)
    with pytest.raises(redis.ConnectionError):
        await client.set("the-key", 1)
    assert lost.is_set()
    with redis_server.client() as direct:
        assert direct.get("the-key") == b"1"
    assert await client.get("the-key") == b"1"


async def test_an_answered_request_is_not_matched_later(proxy, client):
    """An order concerns requests that come after it, not bytes seen before."""
    await client.set("the-key", 1)
    lost = proxy.swallow_next_reply(containing=b"the-key")
    assert await client.ping()
    assert not lost.is_set()


async def test_refuses_and_accepts_again(proxy, client):
    """Refused clients get through again at the same port."""
    proxy.refuse()
    with pytest.raises(redis.ConnectionError):
        await client.ping()
    await proxy.accept()
    assert await client.ping()


async def test_cut_ends_open_connections(proxy, client):
    """A cut connection is replaced by a new one."""
    await client.ping()
    await proxy.cut()
    with pytest.raises(redis.ConnectionError):
        await client.execute_command("PING")
    assert await client.ping()
    assert proxy.connections == 2


async def test_black_hole_holds_everything_until_restored(proxy, client):
    """Nothing is answered in a black hole, and all of it afterwards."""
    await client.ping()
    proxy.black_hole()
    waiting = asyncio.ensure_future(client.ping())
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    proxy.restore()
    assert await waiting
