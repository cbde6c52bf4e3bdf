"""Apps with a dashboard, on stores of every durable kind."""

from __future__ import annotations

import uuid

import pytest

from tests.every_store import a_redis

from .kit import Desk

__all__ = ["a_redis", "desk", "url"]


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def url(request, tmp_path):
    """The URL of an empty store, of every durable kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/webhooks.db"
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"{request.getfixturevalue('a_redis')}?prefix=test-{uuid.uuid4().hex}:"


@pytest.fixture
async def desk(tmp_path):
    """An app on SQLite that keeps a history, and its dashboard."""
    async with Desk(f"sqlite:///{tmp_path}/webhooks.db") as desk:
        yield desk
