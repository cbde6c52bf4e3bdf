"""What got its 200 is run although its process is killed."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import Counter
from contextlib import ExitStack, suppress

import httpx
from httpx import HTTPError

from tests.asgi.kit import signed
from tests.ports import HOST
from tests.servers import wait_until
from webhook_dedup.contracts import Sought
from webhook_dedup.model import Attempt, Delivery, Item, new_id, new_token

from .processes import Life, opened


def runs(server: Life) -> Counter:
    return Counter(line["id"] for line in server.of(run="began"))


def deliver(server: Life, event: str, **more: str) -> int:
    body = json.dumps({"id": event, **more}).encode()
    url = f"http://{HOST}:{server.port}/hook"
    return httpx.post(url, content=body, headers=signed(body), timeout=10).status_code


def test_killed_inside_a_handler(store, tmp_path):
    """Events acknowledged by a process that is killed are run by the next one, and no other is."""
    tag = uuid.uuid4().hex
    acknowledged = []
    # One handler at a time: each that is inside when the process dies may run again.
    with Life(tmp_path, store=store, die_at="run:5", at_once=1) as server:
        for number in range(50):
            event = f"{tag}-{number}"
            try:
                status = deliver(server, event)
            except HTTPError:  # killed before its answer was out
                break
            assert status == 200
            acknowledged.append(event)
        server.process.wait(10)
    assert acknowledged

    with Life(tmp_path, store=store) as server:
        wait_until(lambda: set(acknowledged) <= set(runs(server)), what="a run of each")
        after = f"{tag}-after"
        assert deliver(server, after) == 200
        wait_until(lambda: after in runs(server), what="a new event")
        server.terminate()  # what is under way ends, so that nothing runs unseen
    counts = runs(server)
    assert [event for event, count in counts.items() if count > 2] == []
    doubled = [event for event, count in counts.items() if count == 2]
    assert len(doubled) <= 1, "only the event whose handler was cut off may run again"


async def test_event_that_kills_its_process_takes_no_other_along(store, tmp_path):
    """What was cut off together comes due together; only the culprit uses up its attempts."""
    tag = uuid.uuid4().hex
    poison, sound = f"{tag}-poison", [f"{tag}-sound-{number}" for number in range(5)]
    server = Life(tmp_path, store=store, die_at=f"event:{poison}", gates=tmp_path)
    with server:
        for event in sound:
            assert await asyncio.to_thread(deliver, server, event, wait="all inside") == 200
        inside = lambda: len(server.of(run="waits")) == len(sound)  # noqa: E731 - said once
        await asyncio.to_thread(wait_until, inside, what="all inside")
        with suppress(HTTPError):
            await asyncio.to_thread(deliver, server, poison)
        await asyncio.to_thread(server.process.wait, 20)
    (tmp_path / "all inside").touch()

    with ExitStack() as stack:
        stack.push(server)
        async with opened(store) as (_, inbox):
            while await inbox.count(Sought(state="waiting")):
                if server.process.poll() is not None:
                    server.launch()
                await asyncio.sleep(0.05)
            assert [item.event_id for item in await inbox.find(Sought(state="dead"))] == [poison]
    assert {line["id"] for line in server.of(run="ended")} == set(sound)


async def test_replayed_event_that_kills_its_process_takes_no_other_along(store, tmp_path):
    """What failed before a person replayed it is no excuse for what its runs do now."""
    tag = uuid.uuid4().hex
    poison, sound = f"{tag}-poison", [f"{tag}-sound-{number}" for number in range(5)]
    server = Life(tmp_path, store=store, die_at=f"event:{poison}", gates=tmp_path)
    async with opened(store) as (_, inbox):
        await inbox.start()
        ids = [await leave(inbox, event, wait="gate") for event in (poison, *sound)]
        await fail(inbox, len(ids), times=3)
        assert await inbox.requeue(ids) == len(ids)
        deaths = 0
        with ExitStack() as stack:
            stack.push(server)
            while await inbox.count(Sought(state="waiting")):
                if server.process is None or server.process.poll() is not None:
                    deaths += server.process is not None
                    if deaths == 2:
                        (tmp_path / "gate").touch()
                    server.launch()
                await asyncio.sleep(0.05)
        assert [item.event_id for item in await inbox.find(Sought(state="dead"))] == [poison]
    assert {line["id"] for line in server.of(run="ended")} == set(sound)


async def test_event_that_hangs_after_a_crash_holds_up_no_other_for_ever(store, tmp_path):
    """Events whose runs were cut off run one at a time, but none keeps the rest beyond a lease."""
    tag = uuid.uuid4().hex
    hanging, sound = f"{tag}-hangs", [f"{tag}-sound-{number}" for number in range(3)]
    async with opened(store) as (_, inbox):
        await inbox.start()
        await leave(inbox, hanging, wait="nobody", cut_off=2)
        for event in sound:
            await leave(inbox, event, cut_off=2)
        with Life(tmp_path, store=store, gates=tmp_path, drain=1) as server:
            ended = lambda: len(server.of(run="ended")) == len(sound)  # noqa: E731 - said once
            await asyncio.to_thread(wait_until, ended, what="the others")
            server.terminate()
        [left] = await inbox.find(Sought())
        assert (left.event_id, left.dead) == (hanging, False)


async def leave(inbox, event: str, *, cut_off: int = 0, **more: str) -> str:
    """Put a delivery into the inbox as a process would that died at once."""
    body = json.dumps({"id": event, **more}).encode()
    headers = tuple((name.encode(), value.encode()) for name, value in signed(body).items())
    left = Delivery(new_id(), "hook", "POST", "/hook", headers, body, time.time())
    token = new_token(left.id)
    counts = {"attempts": cut_off, "cut_off": cut_off}
    await inbox.put([Item(left.id, token, left, event_id=event, **counts)], 0.0)
    return left.id


async def fail(inbox, number: int, *, times: int) -> None:
    """Let all items fail until they are dead letters."""
    for last in (*[False] * (times - 1), True):
        taken = await inbox.take(number, 30)
        assert await inbox.begin(taken) == [True] * number
        failed = Attempt(time.time(), "", 0.1, "its database was away")
        for item in taken:
            end = inbox.bury(item, failed) if last else inbox.retry(item, 0.0, failed)
            assert await end


async def test_event_that_kills_its_process_is_buried(store, tmp_path):
    """In every store a poisonous delivery is buried after its attempts, and the rest go on."""
    tag = uuid.uuid4().hex
    poison, sound = f"{tag}-poison", [f"{tag}-sound-{number}" for number in range(3)]
    for death in range(1, 4):
        server = Life(tmp_path, store=store, die_at=f"event:{poison}")
        with ExitStack() as ended:
            if death == 1:
                ended.enter_context(server)
                with suppress(HTTPError):
                    await asyncio.to_thread(deliver, server, poison)
            else:
                ended.push(server)
                server.launch()  # it may be dead before anybody sees it listen
            await asyncio.to_thread(server.process.wait, 20)
            assert runs(server)[poison] == death
    with Life(tmp_path, store=store, die_at=f"event:{poison}") as server:
        for event in sound:
            assert await asyncio.to_thread(deliver, server, event) == 200
        await asyncio.to_thread(wait_until, lambda: server.of(kind="buried"), what="a burial")
        await asyncio.to_thread(
            wait_until, lambda: len(server.of(kind="succeeded")) == len(sound), what="the others"
        )
        assert server.process.poll() is None
    assert runs(server)[poison] == 3

    async with opened(store) as (_, inbox):
        [dead] = await inbox.find(Sought(state="dead"))
        assert (dead.event_id, dead.attempts) == (poison, 3)
        assert json.loads(dead.delivery.body) == {"id": poison}
        assert await inbox.count(Sought(state="waiting")) == 0
