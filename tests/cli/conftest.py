"""Fixtures of the operators' commands."""

from __future__ import annotations

import uuid

import pytest

from tests.conftest import redis_choices
from tests.servers import RedisServer


@pytest.fixture(scope="session")
def newest_redis():
    """The URL of one Redis: what is tested here does not depend on its series."""
    choice = redis_choices()[-1]
    if choice.url:
        yield choice.url
        return
    with RedisServer(choice.binary) as server:
        yield server.url


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def url(request, tmp_path):
    """The URL of an empty store, of every durable kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/webhooks.db"
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"{request.getfixturevalue('newest_redis')}?prefix=test-{uuid.uuid4().hex}:"
