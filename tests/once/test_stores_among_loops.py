"""A store object that code on several event loops uses: at a time, and one after another."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from webhook_dedup import ConfigError, Dedup, WebhookDedup, deduplicate, event_of, idempotent, once
from webhook_dedup.backends.redis.start import Start
from webhook_dedup.inbox import inbox_beside
from webhook_dedup.model import Bid
from webhook_dedup.portal import call_in_portal
from webhook_dedup.stores import MemoryStore, SeenCache, open_store
from webhook_dedup.stores.bloom import BloomStore

from ..asgi.kit import PATH, TestClient, policy, signed, source
from ..core.kit import CueStore
from ..every_store import a_redis, fresh_key, lasting_url

__all__ = ["a_redis", "fresh_key", "lasting_url"]

ELSEWHERE = "store runs on another event loop.*build one Dedup.*or pass each the store's URL"
PATIENCE = 20.0


@contextmanager
def a_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        run_on(loop, loop.shutdown_asyncgens())  # as asyncio.run does
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def run_on(loop: asyncio.AbstractEventLoop, work: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(work, loop).result(PATIENCE)


async def where(_: Dedup) -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def first(store: Any, key: str) -> bool:
    async with once(store, key) as acquired:
        return bool(acquired)


@pytest.fixture
async def store(lasting_url) -> AsyncIterator[Any]:
    """A store object that nobody closes but the test."""
    store = open_store(lasting_url)
    yield store
    await store.aclose()


@pytest.mark.parametrize("ack", ["first", "handled"])
def test_plain_endpoint_shares_the_store_of_the_middleware(lasting_url, fresh_key, ack):
    """From its thread it reaches the server's event loop, delivery after delivery."""
    effects: Counter[str] = Counter()
    store = open_store(lasting_url)

    @idempotent(store, key=lambda order: order, scope=f"charge {fresh_key}")
    def charge(order: str) -> str:
        effects["charge"] += 1
        return order

    @deduplicate(store, key=lambda order: order, scope=f"notify {fresh_key}")
    async def notify(order: str) -> None:
        effects["notice"] += 1

    def hook(request: Request) -> Response:
        order = event_of(request).id
        for _ in range(2):
            with once.sync(store, order) as acquired:
                effects["mail"] += bool(acquired)
            assert charge.sync(order) == order
            notify.sync(order)
        return JSONResponse({})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await store.aclose()

    app = Starlette(routes=[Route(PATH, hook, methods=["POST"])], lifespan=lifespan)
    sources = [source(ack=ack, policy=policy(handler_timeout=5))]
    with TestClient(WebhookDedup(app, store=store, sources=sources)) as client:
        for number in range(5):
            body = b'{"id": "%s-%d"}' % (fresh_key.encode(), number)
            assert client.post(PATH, content=body, headers=signed(body)).status_code == 200

    assert effects == {"mail": 5, "charge": 5, "notice": 5}


async def test_sync_joins_async_code_on_the_loop_of_their_store(store, fresh_key):
    """Callers here and in a thread are all served, at the same time."""
    await first(store, fresh_key)

    def in_thread() -> list[bool]:
        firsts = []
        for number in range(50):
            with once.sync(store, f"{fresh_key}-sync-{number}") as acquired:
                firsts.append(bool(acquired))
        return firsts

    here = [first(store, f"{fresh_key}-async-{number}") for number in range(50)]
    together = asyncio.gather(asyncio.to_thread(in_thread), *here)
    firsts, *others = await asyncio.wait_for(together, PATIENCE)
    assert firsts == others == [True] * 50


async def test_store_started_by_hand_is_asked_where_it_runs(store):
    """A started store lives where it was started, also without a ``Dedup``."""
    await store.start()
    here = asyncio.get_running_loop()
    assert await asyncio.to_thread(call_in_portal, store, where) is here


async def test_store_that_was_passed_in_is_asked_where_its_dedup_runs():
    """Also one that says nothing of event loops, as a user's own; also one in front of another."""
    for store in (CueStore(), BloomStore(), SeenCache(CueStore())):
        async with Dedup(store):
            here = asyncio.get_running_loop()
            assert await asyncio.to_thread(call_in_portal, store, where) is here


async def test_loop_that_would_wait_for_itself_for_its_store_is_told_so(store, fresh_key):
    """On the event loop its store lives on the blocking form would never return."""
    await first(store, fresh_key)
    with pytest.raises(RuntimeError, match="await the async form"), once.sync(store, fresh_key):
        pytest.fail("inside")


async def test_second_live_loop_is_refused(store, lasting_url, fresh_key):
    """It is told what to do, and the first goes on."""
    with a_loop() as loop:
        assert run_on(loop, first(store, f"{fresh_key}-1"))
        for use in (first(store, fresh_key), Dedup(store).start(), store.start()):
            with pytest.raises(ConfigError, match=ELSEWHERE):
                await use
        for use in (inbox_beside(store).start(), inbox_beside(store).next_due()):
            with pytest.raises(ConfigError, match=ELSEWHERE):
                await use
        own = open_store(lasting_url)
        assert await first(own, fresh_key)
        await own.aclose()
        assert run_on(loop, first(store, f"{fresh_key}-2"))
        run_on(loop, store.aclose())
    assert await first(store, f"{fresh_key}-3")


@pytest.mark.parametrize("make", [CueStore, BloomStore, lambda: SeenCache(CueStore())])
async def test_second_live_loop_is_refused_whatever_the_store(make):
    """Nobody but memory says that it serves any event loop."""
    store = make()
    with a_loop() as loop:
        assert run_on(loop, first(store, "k1"))
        with pytest.raises(ConfigError, match=f"this {store.name} {ELSEWHERE}"):
            await first(store, "k2")
        assert run_on(loop, first(store, "k3"))
    assert await first(store, "k2")


async def test_memory_serves_several_loops():
    """It waits for nothing, so it is bound to none."""
    store = MemoryStore()
    with a_loop() as loop:
        assert run_on(loop, first(store, "k"))
        assert not await first(store, "k")
        with once.sync(store, "k") as acquired:
            assert not acquired


def test_memory_grants_a_key_once_among_threads():
    """Its verbs are atomic whatever thread they are called on."""
    store, threads, rounds = MemoryStore(), 4, 5_000
    granted: Counter[int] = Counter()
    ready = threading.Barrier(threads)

    async def claim_all(name: int) -> list[int]:
        claimed = []
        for number in range(rounds):
            if number % 100 == 0:
                ready.wait(PATIENCE)
            [claim] = await store.claim([Bid(f"k{number}", f"t{name}", 30.0)])
            claimed += [number] * claim.fresh
        return claimed

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        workers = [
            threading.Thread(target=lambda name=name: granted.update(asyncio.run(claim_all(name))))
            for name in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    assert set(granted.values()) == {1}
    assert len(granted) == rounds


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # connections end with their loops
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_loops_that_follow_each_other_may_all_be_busy(lasting_url, fresh_key):
    """What callers wait in on one loop is not in the way of those on the next."""
    store: Any = open_store(lasting_url)
    turns = 3

    async def busy(turn: int) -> list[bool]:
        waits = [first(store, f"{fresh_key}-{turn}-{number}") for number in range(50)]
        looks = [look(f"{fresh_key}-look-{number}") for number in range(50)]
        firsts, _ = await asyncio.gather(asyncio.gather(*waits), asyncio.gather(*looks))
        if turn == turns - 1:
            await store.aclose()
        return list(firsts)

    async def look(key: str) -> None:
        await store.look([key])
        if hasattr(store, "purge"):
            await store.purge()

    for turn in range(turns):
        assert asyncio.run(asyncio.wait_for(busy(turn), PATIENCE)) == [True] * 50
    gc.collect()


def test_check_that_was_cut_off_with_its_loop_is_made_anew():
    """Nobody waits for what has ended with its event loop."""
    checks = 0

    async def check() -> None:
        nonlocal checks
        checks += 1
        await asyncio.sleep(3600 if checks == 1 else 0)

    start = Start(check)
    ended = asyncio.new_event_loop()
    starting = ended.create_task(start.ready())
    ended.run_until_complete(asyncio.sleep(0.01))
    left: list[Any] = [starting, *asyncio.all_tasks(ended)]
    ended.close()
    asyncio.run(asyncio.wait_for(start.ready(), PATIENCE))
    assert checks == 2
    for task in left:
        task._log_destroy_pending = False  # it is meant to be pending


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forked_children_leave_the_connections_of_their_parent_alone(lasting_url, fresh_key):
    """A store object that the parent has used serves a pool of processes, and the parent beside."""
    program = f"""
        import multiprocessing
        from webhook_dedup import once
        from webhook_dedup.stores import open_store

        store = open_store({lasting_url!r})

        def firsts(name):
            firsts = 0
            for number in range(20):
                with once.sync(store, f"{fresh_key} {{name}} {{number}}") as first:
                    firsts += bool(first)
            return firsts

        print(firsts("parent"))
        with multiprocessing.get_context("fork").Pool(2) as pool:
            children = pool.map_async(firsts, ["first child", "second child"])
            print(firsts("parent beside"), *children.get(30))
    """
    ran = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(ran, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["20", "20 20 20"], done.stderr
