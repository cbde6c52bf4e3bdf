"""What the tests of the Redis store and of the Redis inbox share."""

from __future__ import annotations

import uuid

import pytest

from .binaries import redis_binaries
from .conftest import redis_choices

__all__ = ["newest_binary", "newest_redis", "oldest_binary", "prefix"]

newest_redis = pytest.mark.parametrize(
    "redis_url", redis_choices()[-1:], indirect=True, ids=str, scope="session"
)
newest_binary = pytest.mark.parametrize(
    "redis_binary", redis_binaries()[-1:], indirect=True, ids=lambda b: b.series, scope="session"
)
oldest_binary = pytest.mark.parametrize(
    "redis_binary", redis_binaries()[:1], indirect=True, ids=lambda b: b.series, scope="session"
)


@pytest.fixture
def prefix() -> str:
    """A prefix of the test's own, so that it sees no keys but its own."""
    return f"test-{uuid.uuid4().hex}:"
