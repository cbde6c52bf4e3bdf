"""Stores beside which the inbox is durable."""

from __future__ import annotations

import pytest

from .processes import durable_redis


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def store(request, tmp_path):
    """The URL of every store beside which the inbox is durable."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/webhooks.db"
    elif request.param == "postgres":
        yield request.getfixturevalue("postgres_url")
    else:
        with durable_redis() as server:
            yield server.url
