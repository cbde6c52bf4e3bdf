"""PostgreSQL behind TLS, as the URLs of hosts and of other libraries ask for it."""

from contextlib import asynccontextmanager
from datetime import timedelta
from urllib.parse import urlencode

import pytest

from tests.stores.sql_support import bids, opened, outcomes
from tests.tls import Authority, UpgradingProxy
from webhook_dedup.errors import ConfigError, StoreUnavailable
from webhook_dedup.model import Outcome, Settlement
from webhook_dedup.stores.sql import SqlStore
from webhook_dedup.testing.store_rules.case import LONG_TTL, a_key, claim

DRIVERS = ["postgresql", "postgresql+psycopg"]


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@asynccontextmanager
async def behind(url, driver, tls, **query):
    """A store on a server that speaks what ``tls`` says."""
    async with UpgradingProxy.to(url, tls) as proxy:
        through = proxy.through(url).replace("postgresql", driver, 1)
        async with opened(f"{through}?{urlencode(query)}") as store:
            yield store


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("name", ["sslmode", "ssl"])
async def test_every_name_of_tls_works(postgres_url, authority, driver, name):
    """Libpq's name and SQLAlchemy's demand TLS with either driver; large batches pass whole."""
    options = {name: "verify-full", "sslrootcert": authority.certificate}
    async with behind(postgres_url, driver, authority.server(), **options) as store:
        held = await store.claim(bids(2000))
        assert outcomes(held) == {Outcome.FRESH}
        assert all(await store.complete([Settlement(each, LONG_TTL, b"r" * 1000) for each in held]))


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_client_may_show_a_certificate(postgres_url, authority, driver):
    """A server that asks for one gets it."""
    certificate, key = authority.issue("client")
    tls = authority.server(clients_too=True)
    options = {
        "sslmode": "verify-full",
        "sslrootcert": authority.certificate,
        "sslcert": certificate,
        "sslkey": key,
    }
    async with behind(postgres_url, driver, tls, **options) as store:
        assert (await claim(store, a_key())).fresh


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_certificate_that_is_not_trusted(postgres_url, authority, tmp_path, driver):
    """A strange authority's is refused, and the error says what to write."""
    another = Authority(tmp_path, "another").certificate
    options = {"sslmode": "verify-full", "sslrootcert": another}
    async with behind(postgres_url, driver, authority.server(), **options) as store:
        with pytest.raises(ConfigError, match="sslrootcert="):
            await store.start()


@pytest.mark.parametrize(
    ("driver", "error"), [("postgresql", StoreUnavailable), ("postgresql+psycopg", ConfigError)]
)
async def test_a_certificate_that_has_expired(postgres_url, tmp_path, driver, error):
    """It is an outage until it is renewed, but for psycopg, which does not say what is wrong."""
    authority = Authority(tmp_path, lasts=timedelta(hours=-1))
    options = {"sslmode": "verify-full", "sslrootcert": authority.certificate}
    async with behind(postgres_url, driver, authority.server(), **options) as store:
        with pytest.raises(error, match="renew it"):
            await store.start()


async def test_a_key_of_another_certificate(postgres_url, authority):
    """Files that do not belong together are a mistake in the URL."""
    options = {
        "sslmode": "verify-full",
        "sslrootcert": authority.certificate,
        "sslcert": authority.issue("client")[0],
        "sslkey": authority.issue("another")[1],
    }
    async with behind(postgres_url, "postgresql", authority.server(), **options) as store:
        with pytest.raises(ConfigError, match="not the key of sslcert="):
            await store.start()


@pytest.mark.parametrize(
    ("query", "remedy"),
    [
        ("sslmode=verify-full&sslrootcert=/no/such/ca.pem", "no file '/no/such/ca.pem'"),
        ("sslmode=require&channel_binding=require", r"postgresql\+psycopg://"),
    ],
)
def test_what_cannot_work_is_refused(query, remedy):
    """A file that is not there, and what asyncpg cannot do, are refused with what to write."""
    with pytest.raises(ConfigError, match=remedy):
        SqlStore.from_url(f"postgresql://localhost/claims?{query}")
