"""What is measured of a store: a claim, a claim and its completion, the whole life of an event."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count

from ..coalesce import Coalescer, InboxCoalescer
from ..contracts import Inbox, Startable, Store
from ..errors import StoreError
from ..inbox import inbox_beside
from ..model import Bid, Claim, Delivery, Item, Settlement, new_id, new_token
from ..stores import open_store
from .load import Operation

__all__ = ["LEASE", "claiming", "completing", "item_of", "living", "new_keys", "opened"]

LEASE = 60.0
TTL = 3600.0
BODY = b'{"id": "evt", "padding": "' + b"x" * 970 + b'"}'
HEADERS = ((b"content-type", b"application/json"), (b"x-event-id", b"evt"))


def new_keys(prefix: str = "webhook:bench") -> Iterator[str]:
    """Return keys of about 46 characters that nobody used before."""
    start = uuid.uuid4().int >> 32
    return (f"{prefix}:{number:032x}" for number in count(start))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    """Open a store by its URL, and close it in the end."""
    store = open_store(url)
    try:
        if isinstance(store, Startable):
            await store.start()
        yield store
    finally:
        await store.aclose()


def claiming(store: Store) -> Operation:
    """Claim a new key."""
    verbs, keys = Coalescer(store), new_keys()

    async def claim() -> None:
        await _fresh(verbs, next(keys))

    return claim


def completing(store: Store) -> Operation:
    """Claim a new key, and complete it."""
    verbs, keys = Coalescer(store), new_keys()

    async def claim_and_complete() -> None:
        claim = await _fresh(verbs, next(keys))
        await verbs.complete(Settlement(claim, TTL))

    return claim_and_complete


def living(store: Store, inbox: Inbox | None = None) -> Operation:
    """Put an event into the inbox beside a store, claim it, count the attempt, complete, done."""
    verbs, keys = Coalescer(store), new_keys()
    rows = InboxCoalescer(inbox_beside(store) if inbox is None else inbox, LEASE)

    async def live() -> None:
        item = item_of(next(keys))
        await rows.put(item)
        claim = await _fresh(verbs, item.key, item.token)
        await rows.begin(item)
        await verbs.complete(Settlement(claim, TTL))
        await rows.done(item)

    return live


def item_of(key: str) -> Item:
    """Make an item of an event, with a body of 1 KB."""
    row = new_id()
    delivery = Delivery(row, "bench", "POST", "/hook", HEADERS, BODY, time.time())
    return Item(row, new_token(row), delivery, key=key, event_id=key)


async def _fresh(verbs: Coalescer, key: str, token: str | None = None) -> Claim:
    claim = await verbs.claim(Bid(key, token or new_token(), LEASE))
    # A Bloom filter takes a new key for a known one now and then; what else does is broken.
    if not claim.fresh and verbs.store.name != "bloom":
        raise StoreError(f"{verbs.store.name} answered {claim.outcome.value} for a new key")
    return claim
