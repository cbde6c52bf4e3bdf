"""Redis behind TLS: batches pass whole, and what is amiss with a certificate is named."""

from contextlib import asynccontextmanager
from urllib.parse import urlencode

import pytest
import redis

from tests.proxy import Proxy
from tests.tls import Authority
from webhook_dedup.backends.redis.faults import translate
from webhook_dedup.errors import ConfigError, StoreError, StoreUnavailable
from webhook_dedup.model import Bid, Outcome, Settlement, new_token
from webhook_dedup.stores.redis import RedisStore
from webhook_dedup.testing.store_rules.case import LONG_LEASE, LONG_TTL, a_key, claim, complete


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@asynccontextmanager
async def behind(redis_url, tls, **query):
    """A store, and the proxy through which it reaches a server that speaks what ``tls`` says."""
    async with Proxy.to(redis_url, tls) as proxy:
        url = proxy.through(redis_url).replace("redis:", "rediss:")
        store = RedisStore.from_url(f"{url}?{urlencode(query)}")
        try:
            yield store, proxy
        finally:
            await store.aclose()


@pytest.mark.parametrize("protocol", [2, 3])
async def test_large_batches_pass_whole(redis_url, authority, protocol):
    """Batches and results far larger than what a socket or TLS takes at once are not cut."""
    options = {"ssl_ca_certs": authority.certificate, "protocol": protocol}
    async with behind(redis_url, authority.server(), **options) as (store, _):
        await store.start()
        bids = [
            Bid(f"{a_key()}{number:05}" + "x" * 300, new_token(), LONG_LEASE)
            for number in range(5000)
        ]
        held = await store.claim(bids)
        assert {each.outcome for each in held} == {Outcome.FRESH}
        assert all(await store.complete([Settlement(each, LONG_TTL, b"r") for each in held]))
        again = await store.claim([Bid(bid.key, new_token(), LONG_LEASE) for bid in bids])
        assert {each.outcome for each in again} == {Outcome.DUPLICATE}
        one = await claim(store, a_key())
        [confirmed] = await store.complete([Settlement(one, LONG_TTL, b"R" * 5_000_000)])
        assert confirmed
        assert (await claim(store, one.key)).result == b"R" * 5_000_000


async def test_lost_connections_are_made_again(redis_url, authority):
    """A cut costs no caller an error, and a claim whose reply was lost is fresh."""
    options = {"ssl_ca_certs": authority.certificate}
    async with behind(redis_url, authority.server(), **options) as (store, proxy):
        assert (await claim(store, a_key())).fresh
        await proxy.cut()
        lost = proxy.swallow_next_reply()
        held = await claim(store, a_key())
        assert held.fresh
        assert lost.is_set()
        assert await complete(store, held)


async def test_a_client_may_show_a_certificate(redis_url, authority):
    """A server that asks for one gets it."""
    certificate, key = authority.issue("client")
    options = {
        "ssl_ca_certs": authority.certificate,
        "ssl_certfile": certificate,
        "ssl_keyfile": key,
    }
    async with behind(redis_url, authority.server(clients_too=True), **options) as (store, _):
        assert (await claim(store, a_key())).fresh


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert (_ssl.c:2580)", "ssl_certfile="),
        ("[SSL: SSLV3_ALERT_HANDSHAKE_FAILURE] sslv3 alert (_ssl.c:1006)", "ssl_certfile="),
        ("[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca", "ssl_certfile="),
        ("[SSL: SSLV3_ALERT_BAD_CERTIFICATE] sslv3 alert bad certificate", "ssl_certfile="),
        ("[SSL: SSLV3_ALERT_CERTIFICATE_EXPIRED] sslv3 alert certificate expired", "renew it"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)", "redis://"),
    ],
)
def test_what_openssl_says(said, remedy):
    """A handshake that fails for ever is no outage, and the error says what to write."""
    error = translate(redis.ConnectionError(f"Error 1 connecting to host:6379. {said}"), "Redis")
    assert type(error) is StoreError
    assert remedy in str(error)


def test_a_certificate_that_has_expired():
    """One that ends in use is an outage until it is renewed, and no question of trust."""
    said = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired"
    error = translate(redis.ConnectionError(f"Error 1 connecting to host:6379. {said}"), "Redis")
    assert isinstance(error, StoreUnavailable)
    assert "expired: renew it" in str(error)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
async def test_a_certificate_that_is_not_trusted(redis_url, authority, tmp_path, host):
    """Neither a strange authority's nor another host's passes, and the error says what to write."""
    trusted = Authority(tmp_path, "another") if host == "127.0.0.1" else authority
    options = {"ssl_ca_certs": trusted.certificate}
    async with behind(redis_url, authority.server(host), **options) as (store, _):
        with pytest.raises(ConfigError, match="ssl_ca_certs="):
            await store.start()


@pytest.mark.parametrize("unchecked", ["none", "CERT_NONE"])
async def test_a_certificate_that_is_not_asked_for(redis_url, authority, unchecked):
    """Checks can be turned off, in redis-py's words and in Celery's."""
    tls = authority.server("127.0.0.2")
    async with behind(redis_url, tls, ssl_cert_reqs=unchecked) as (store, _):
        assert (await claim(store, a_key())).fresh


async def test_a_server_that_hangs_up(unused_tcp_port):
    """A server that ends every connection at once, as a balancer without servers does, is away."""
    async with Proxy("127.0.0.1", unused_tcp_port) as proxy:
        store = RedisStore.from_url(f"redis://127.0.0.1:{proxy.port}")
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await store.start()
        await store.aclose()


@pytest.mark.parametrize("place", ["://h", "+cluster://h", "+sentinel://h/main"])
def test_files_that_cannot_be_used(tmp_path, place):
    """A file that is not there, or holds something else, is refused with its name."""
    path = tmp_path / "ca.pem"
    url = f"rediss{place}?ssl_ca_certs={path}"
    with pytest.raises(ConfigError, match=r"ca\.pem"):
        RedisStore.from_url(url)
    path.write_text("no certificate")
    with pytest.raises(ConfigError, match=r"ca\.pem"):
        RedisStore.from_url(url)


def test_tls_in_the_query():
    """What other clients' URLs say is answered with what to write."""
    with pytest.raises(ConfigError, match="rediss://"):
        RedisStore.from_url("redis://localhost?ssl=true")


async def test_sentinels_that_do_not_answer(unused_tcp_port):
    """The error says what may be amiss, and shows no client's inner state."""
    store = RedisStore.from_url(f"rediss+sentinel://127.0.0.1:{unused_tcp_port}/main")
    with pytest.raises(StoreUnavailable, match="no sentinel names its primary") as caught:
        await store.start()
    assert "ConnectionPool" not in str(caught.value)
    await store.aclose()
