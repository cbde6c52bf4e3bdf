"""Places of every kind in which a history can be kept."""

from __future__ import annotations

import pytest

from tests import every_store
from tests.observe.collector import collecting

a_redis = every_store.a_redis
place = every_store.empty_url


@pytest.fixture
def collector():
    """A collector of this test's own."""
    with collecting() as server:
        yield server
