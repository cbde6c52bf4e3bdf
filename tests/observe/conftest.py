"""Places of every kind in which a history can be kept."""

from __future__ import annotations

import uuid

import pytest

from tests.every_store import a_redis
from tests.observe.collector import collecting

__all__ = ["a_redis", "collector", "place"]


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def place(request, tmp_path):
    """The URL of an empty place."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/history.db"
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"{request.getfixturevalue('a_redis')}?prefix=test-{uuid.uuid4().hex}:"


@pytest.fixture
def collector():
    """A collector of this test's own."""
    with collecting() as server:
        yield server
