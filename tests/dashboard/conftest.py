"""Apps with a dashboard, on stores of every durable kind."""

from __future__ import annotations

import pytest

from tests import every_store

from .kit import Desk

a_redis = every_store.a_redis
url = every_store.empty_url


@pytest.fixture
async def desk(tmp_path):
    """An app on SQLite that keeps a history, and its dashboard."""
    async with Desk(f"sqlite:///{tmp_path}/webhooks.db") as desk:
        yield desk
