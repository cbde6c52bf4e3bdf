"""``.sync`` where the ``Dedup`` runs on an event loop already, as the middleware's does."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from webhook_dedup import Dedup, WebhookDedup, deduplicate, event_of, idempotent, once
from webhook_dedup.portal import call_in_portal

from ..asgi.kit import BODY, PATH, TestClient, signed, source
from ..core.kit import CueStore, eventually


@pytest.mark.parametrize("ack", ["first", "handled"])
def test_plain_endpoint_shares_the_dedup_of_the_middleware(tmp_path, ack):
    """A plain ``def`` endpoint runs in a thread, from which it reaches the server's event loop."""
    dedup = Dedup(f"sqlite:///{tmp_path}/store.db", sources=[source(ack=ack)])
    effects: list[Any] = []

    @idempotent(dedup, key=lambda order: order)
    def charge(order: str) -> str:
        effects.append("charge")
        return f"charged {order}"

    @deduplicate(dedup, key=lambda order: order)
    async def notify(order: str) -> None:
        effects.append("notice")

    def hook(request: Request) -> Response:
        for _ in range(2):
            with once.sync(dedup, event_of(request).id) as first:
                if first:
                    effects.append("mail")
            effects.append(charge.sync("o1"))
            notify.sync("o1")
        return JSONResponse({})

    app = Starlette(routes=[Route(PATH, hook, methods=["POST"])])
    with TestClient(WebhookDedup(app, dedup=dedup)) as client:
        assert client.post(PATH, content=BODY, headers=signed()).status_code == 200

    assert effects == ["mail", "charge", "charged o1", "notice", "charged o1"]


async def where(_: Dedup) -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def test_loop_that_would_wait_for_itself_is_told_so():
    """On the event loop itself the blocking form would never return."""
    async with Dedup("memory://") as dedup:
        with pytest.raises(RuntimeError, match="await the async form"), once.sync(dedup, "k"):
            pytest.fail("inside")
        async with once(dedup, "k") as first:
            assert first


async def test_dedup_is_asked_where_it_runs_until_it_has_drained():
    """A thread that is still at work when the app shuts down must not start it elsewhere."""
    store = CueStore()
    dedup = Dedup(store)
    complete = store.shut("complete")
    sending = asyncio.ensure_future(once.call(dedup, "k", lambda: None))
    await eventually(lambda: store.keys_of("complete"))
    stopping = asyncio.ensure_future(dedup.stop())
    await eventually(lambda: not dedup.running)

    here = asyncio.get_running_loop()
    assert await asyncio.to_thread(call_in_portal, dedup, where) is here
    complete.set()
    await asyncio.gather(sending, stopping)
    assert dedup.loop is here  # the thread has started it again
    await dedup.stop()
    assert dedup.loop is None
    assert await asyncio.to_thread(call_in_portal, dedup, where) is not here
    await asyncio.to_thread(call_in_portal, dedup, Dedup.stop)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forked_child_does_not_wait_for_its_parents_loop(tmp_path):
    """A forked worker inherits a running ``Dedup`` without the thread that ran its loop."""
    dedup = Dedup(f"sqlite:///{tmp_path}/store.db")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(dedup.start(), loop).result(30)
    fork = multiprocessing.get_context("fork")

    def child() -> None:
        with once.sync(dedup, "k") as first:
            assert first

    try:
        worker = fork.Process(target=child)
        worker.start()
        worker.join(30)
        assert worker.exitcode == 0
        with once.sync(dedup, "k") as first:
            assert not first
    finally:
        asyncio.run_coroutine_threadsafe(dedup.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
