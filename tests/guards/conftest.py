"""Guards over every kind of store, without a line that knows which."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from tests.asgi.kit import Records
from webhook_dedup import Dedup, Event
from webhook_dedup.guards import Passage
from webhook_dedup.model import Key
from webhook_dedup.stores import MemoryStore

from ..every_store import a_redis, fresh_key, store_url

__all__ = ["a_redis", "fresh_key", "of_tenant", "store_url"]


@pytest.fixture
def records():
    return Records()


@pytest.fixture
def store(store_url):
    """What two of them share: ``memory://`` would be another one each time."""
    return MemoryStore() if store_url == "memory://" else store_url


@pytest.fixture
async def dedup(store, records):
    """A started ``Dedup`` over each store."""
    async with Dedup(store, observers=[records]) as dedup:
        yield dedup


@pytest.fixture
async def other(store, records):
    """Another one over the same store, as another process has it."""
    async with Dedup(store, observers=[records]) as dedup:
        yield dedup


@pytest.fixture
def passage(fresh_key):
    """Make the passage of an event with a subject that no other test has."""

    def make(dedup, subject="thread", *, event_id="1", data=None):
        subject = None if subject is None else f"{subject}-{fresh_key}"
        event = Event(Key("agent", event_id), "agent", event_id, subject=subject)
        return Passage(event, data, dedup.engine, dedup.record, lambda _: None)

    return make


def of_tenant(passage, tenant):
    """Return the passage of the same event of a tenant."""
    event = passage.event
    return replace(passage, event=structs.replace(event, key=Key("agent", event.id, tenant)))
