"""What the tests of the operators' commands share."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager

from typer.testing import CliRunner

from webhook_dedup import open_store
from webhook_dedup.cli.app import app
from webhook_dedup.inbox import inbox_beside
from webhook_dedup.model import Attempt, Delivery, Item, new_token

SECRET = "a test's secret"
RECEIVED_AT = 1_700_000_000.0
FAILED = Attempt(RECEIVED_AT + 1, "host:1", 0.5, "TimeoutError: too slow")


@asynccontextmanager
async def app_inbox(url):
    """The inbox as the app opens it: tables are made, rows are real."""
    store = open_store(url)
    inbox = inbox_beside(store)
    try:
        yield inbox
    finally:
        await inbox.aclose()
        await store.aclose()


def item(item_id=None, *, source="stripe", event_id="evt_1", received_at=RECEIVED_AT, **request):
    """An item held by its token."""
    item_id = item_id or uuid.uuid4().hex
    request = {"headers": (), "body": b"{}", **request}
    delivery = Delivery(
        item_id, source, "POST", "/webhooks/stripe", received_at=received_at, **request
    )
    return Item(item_id, new_token(item_id), delivery, event_id=event_id)


async def command(*arguments, url=None):
    """Run a command in a thread, since it has an event loop of its own."""
    env = {"WEBHOOK_DEDUP_STORE": url}
    return await asyncio.to_thread(CliRunner().invoke, app, list(arguments), env=env)
