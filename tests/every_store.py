"""Every kind of store by its URL, for tests of what is built on stores."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .binaries import redis_binaries
from .conftest import GIVEN_REDIS
from .servers import DURABLE, RedisServer

__all__ = [
    "a_redis",
    "durable_redis",
    "durable_url",
    "empty_url",
    "fresh_key",
    "lasting_url",
    "store_url",
]


@pytest.fixture(scope="session")
def a_redis() -> Iterator[str]:
    """One Redis for the session."""
    if GIVEN_REDIS:
        yield GIVEN_REDIS
        return
    with RedisServer(redis_binaries()[-1]) as server:
        yield server.url


@contextmanager
def durable_redis() -> Iterator[RedisServer]:
    """A Redis that has on disk what it has answered."""
    with RedisServer(redis_binaries()[0], args=DURABLE) as server:
        yield server


@pytest.fixture(params=["memory", "sqlite", "postgres", "redis"])
def store_url(request, tmp_path) -> str:
    """A store of each kind that keeps results. ``memory://`` is one for the whole process."""
    return _url_of(request, tmp_path)


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def lasting_url(request, tmp_path) -> str:
    """A store of each kind that outlives the processes which use it."""
    return _url_of(request, tmp_path)


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def durable_url(request, tmp_path) -> Iterator[str]:
    """A store of each kind beside which the inbox is durable."""
    if request.param == "redis":
        with durable_redis() as server:
            yield server.url
    else:
        yield _url_of(request, tmp_path)


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def empty_url(request, tmp_path) -> str:
    """An empty store of each kind that outlives the processes which use it."""
    prefix = f"?prefix=test-{uuid.uuid4().hex}:" if request.param == "redis" else ""
    return f"{_url_of(request, tmp_path)}{prefix}"


def _url_of(request, tmp_path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    if request.param == "memory":
        return "memory://"
    return request.getfixturevalue({"postgres": "postgres_url", "redis": "a_redis"}[request.param])


@pytest.fixture
def fresh_key() -> str:
    """A key no other test has used, as some stores are shared."""
    return uuid.uuid4().hex
