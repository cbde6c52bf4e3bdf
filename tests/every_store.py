"""Every kind of store by its URL, for tests of what is built on stores."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from .binaries import redis_binaries
from .conftest import GIVEN_REDIS
from .servers import RedisServer

__all__ = ["a_redis", "empty_url", "fresh_key", "lasting_url", "store_url"]


@pytest.fixture(scope="session")
def a_redis() -> Iterator[str]:
    """One Redis for the session."""
    if GIVEN_REDIS:
        yield GIVEN_REDIS
        return
    with RedisServer(redis_binaries()[-1]) as server:
        yield server.url


@pytest.fixture(params=["memory", "sqlite", "postgres", "redis"])
def store_url(request, tmp_path) -> str:
    """A store of each kind that keeps results. ``memory://`` is one for the whole process."""
    return _url_of(request, tmp_path)


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def lasting_url(request, tmp_path) -> str:
    """A store of each kind that outlives the processes which use it."""
    return _url_of(request, tmp_path)


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
