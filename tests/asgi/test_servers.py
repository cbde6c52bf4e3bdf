"""The middleware under real ASGI servers: one run of five, a drain at SIGTERM, a bad start."""

from __future__ import annotations

import asyncio

import pytest

from tests.servers import wait_until

from .kit import BODY, signed
from .processes import COMMANDS, Served
from .wire import Connection, ask, request

DELIVERY = request("/json", BODY, signed())


@pytest.fixture(params=COMMANDS)
def kind(request):
    return request.param


async def _at_once(port: int, copies: int) -> list[int]:
    """Open the connections first, so that the deliveries are truly sent at once."""
    connections = [Connection(port) for _ in range(copies)]
    await asyncio.gather(*(connection.__aenter__() for connection in connections))
    for connection in connections:
        connection.send(DELIVERY)
    answers = await asyncio.gather(*(connection.answer() for connection in connections))
    for connection in connections:
        await connection.__aexit__()
    return [answer.status for answer in answers]


async def _settles(port: int) -> None:
    """Wait until one claim is left and no delivery; the last may be acknowledged before it ends."""
    for _ in range(100):
        state = (await ask(port, request("/state", method="GET"))).json()
        if state == {"claims": 1, "inbox": 0}:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"what is left: {state}")


@pytest.mark.parametrize("ack", ["first", "claimed", "handled"])
async def test_five_at_once(kind, ack, tmp_path):
    """Five signed copies over five connections at once are run once and skipped four times."""
    with Served(kind, tmp_path, ack=ack, handler_seconds=0.3) as server:
        statuses = sorted(await _at_once(server.port, 5))
        assert statuses == ([200] * 5 if ack != "handled" else [200, 503, 503, 503, 503])
        await asyncio.to_thread(
            wait_until, lambda: len(server.of(kind="skipped")) == 4, what="four skips"
        )
        assert len(server.of(run="began")) == 1
        assert (await ask(server.port, DELIVERY)).status == 200
        assert len(server.of(run="began")) == 1
        await _settles(server.port)
        assert "Traceback" not in server.log


@pytest.mark.parametrize("ack", ["first", "claimed", "handled"])
async def test_sigterm_during_a_handler(kind, ack, tmp_path):
    """A server that is told to stop lets the running handler end, and its event is completed."""
    store = f"sqlite:///{tmp_path}/webhooks.db"
    with Served(kind, tmp_path, ack=ack, store=store, handler_seconds=0.5) as server:
        asking = asyncio.ensure_future(ask(server.port, DELIVERY))
        await asyncio.to_thread(wait_until, lambda: server.of(run="began"), what="a run")
        await asyncio.to_thread(server.terminate)
        assert (await asking).status == 200
    assert len(server.of(run="ended")) == 1
    assert len(server.of(kind="succeeded")) == 1
    kinds = [line.get("kind") or line.get("app") for line in server.ledger]
    assert kinds.index("succeeded") < kinds.index("stopped")
    with Served(kind, tmp_path, ack=ack, store=store) as again:
        assert (await ask(again.port, DELIVERY)).status == 200
        await asyncio.to_thread(wait_until, lambda: again.of(kind="skipped"), what="a skip")
    assert len(again.of(run="began")) == 1


async def test_sigterm_after_the_last_message(kind, tmp_path):
    """A background task that a server's stop meets ends, and only then its sender is answered."""
    options = {"ack": "handled", "store": f"sqlite:///{tmp_path}/webhooks.db"}
    with Served(kind, tmp_path, late_seconds=0.5, **options) as server:
        asking = asyncio.ensure_future(ask(server.port, DELIVERY))
        await asyncio.to_thread(wait_until, lambda: server.of(late="began"), what="the task")
        await asyncio.to_thread(server.terminate)
        assert (await asking).status == 200
    told = [line.get("late") or line.get("kind") for line in server.ledger]
    assert told.index("ended") < told.index("succeeded")


@pytest.mark.parametrize("query", ["", "?streams=1"])
async def test_failure_after_the_last_message(kind, query, tmp_path):
    """A run that fails after its response has no complete one: its sender comes again."""
    delivery = request(f"/json{query}", BODY, signed())
    with Served(kind, tmp_path, ack="handled", late_failures=1) as server:
        first = await ask(server.port, delivery)
        assert first is None if query else first.status == 500
        again = await ask(server.port, delivery)
        assert (again.status, again.body) == (200, b"handled")
        assert len(server.of(run="began")) == 2
        assert len(server.of(kind="succeeded")) == 1


def test_store_out_of_reach(kind, tmp_path):
    """When the store cannot be reached, the server does not come up and says why.

    (Hypercorn says so with an exit status of 0.)
    """
    server = Served(kind, tmp_path, store="redis://127.0.0.1:1/0")
    server.launch()
    try:
        server.process.wait(30)
        assert "127.0.0.1:1" in server.log
    finally:
        server.__exit__()
