"""The other programs of the docs, against real servers."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import types
import uuid

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.asgi.kit import deliver, living
from tests.every_store import a_redis, store_url
from webhook_dedup.errors import IdempotencyMismatch
from webhook_dedup.providers import sign
from webhook_dedup.testing import FailingStore

from .pages import extract

__all__ = ["a_redis", "store_url"]

SECRET = "whsec_test"


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Load a program of a page as a module."""

    def load(page, name, **environment):
        for variable, value in environment.items():
            monkeypatch.setenv(variable, value)
        extract(page, tmp_path)
        spec = importlib.util.spec_from_file_location(f"recipe_{name}", tmp_path / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load


async def test_payment_is_booked_once(program, postgres_url):
    """Five deliveries at once, and a rerun that has lost its claim, book one payment."""
    url = postgres_url.replace("postgresql://", "postgresql+asyncpg://")
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE bookings (event text, amount integer)"))
    payments = program(
        "payments.md", "payments", DATABASE=url, STORE=postgres_url, STRIPE_SECRET=SECRET
    )
    body = json.dumps({"id": "evt_1", "data": {"object": {"amount": 700}}}).encode()
    for _ in range(2):
        headers = sign("stripe", secret=SECRET, body=body)
        async with living(payments.app):
            copies = [
                deliver(payments.app, body, headers=headers, path="/webhooks/stripe")
                for _ in range(5)
            ]
            assert {reply.status for reply in await asyncio.gather(*copies)} == {200}
        async with engine.begin() as connection:
            booked = (await connection.execute(text("SELECT * FROM bookings"))).all()
            # The middleware forgets: as after a kill between the commit and its own record.
            await connection.execute(text("TRUNCATE webhook_dedup_claims"))
        assert booked == [("evt_1", 700)]
    await payments.engine.dispose()
    await engine.dispose()


async def create(app, client_id, name="ann", caller="alice"):
    body = json.dumps({"client_id": client_id, "name": name}).encode()
    headers = {"content-type": "application/json", "authorization": caller}
    return await deliver(app, body, headers=headers, path="/inboxes")


async def test_inbox_is_created_once(program, store_url):
    """A retry gets the first inbox, another caller or id one of its own, the rest an error."""
    inboxes = program("create-once.md", "inboxes", STORE=store_url)
    client_id = uuid.uuid4().hex
    async with living(inboxes.app):
        first = await create(inboxes.app, client_id)
        again = await create(inboxes.app, client_id)
        assert (first.status, again.status) == (201, 200)
        assert (again.body, again.headers["idempotent-replayed"]) == (first.body, "true")
        assert (await create(inboxes.app, client_id, name="bob")).status == 422
        assert (await create(inboxes.app, client_id, caller="mallory")).status == 201
        assert (await create(inboxes.app, None)).status == 400
    assert len(inboxes.INBOXES) == 2


async def test_function_creates_once(program, tmp_path, monkeypatch):
    """The first result is given to every call of one caller and id; other arguments are refused."""
    monkeypatch.chdir(tmp_path)
    mailboxes = program("create-once.md", "mailboxes")
    first = await mailboxes.create_mailbox("ann", "1", "alice")
    assert await mailboxes.create_mailbox("ann", "1", "alice") == first
    assert (await mailboxes.create_mailbox("bob", "1", "mallory")).address == "bob@example.com"
    with pytest.raises(IdempotencyMismatch):
        await mailboxes.create_mailbox("bob", "1", "alice")


@pytest.fixture
def sent(monkeypatch):
    """Orders whose mail was sent by a shop that does nothing else."""
    sent = []
    shop = types.ModuleType("shop")
    shop.send_mail = lambda order, idempotency_key: sent.append(order)
    monkeypatch.setitem(sys.modules, "shop", shop)
    return sent


def test_celery_task_sends_once(program, sent, tmp_path):
    """A task that is delivered twice sends one mail."""
    tasks = program(
        "send-once.md", "tasks", STORE=f"sqlite:///{tmp_path}/webhooks.db", BROKER="memory://"
    )
    for _ in range(2):
        tasks.confirm.apply(args=["42"]).get()
    assert sent == ["42"]


def test_celery_task_outlives_its_store(program, sent, monkeypatch):
    """A task that finds the store away is run again until it is back, and sends its mail."""
    tasks = program("send-once.md", "tasks", STORE="memory://", BROKER="memory://")
    store = FailingStore()
    store.away("claim", times=3)
    monkeypatch.setattr(tasks, "STORE", store)
    tasks.confirm.apply(args=["42"]).get()
    assert sent == ["42"]
