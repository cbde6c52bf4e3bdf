"""The middleware in real server processes that share a store."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from ..ports import HOST, free_port, reserve_port
from ..servers import wait_until


@contextmanager
def served(store, ledger):
    """Serve the shop in a process of its own; yield its URL and the process."""
    port = reserve_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "uvicorn", "tests.idempotency.served:app"),
            *("--host", HOST, "--port", str(port), "--no-access-log", "--log-level", "warning"),
        ],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "STORE": store, "LEDGER": str(ledger)},
    )
    try:
        wait_until(lambda: _listens(port), what="the shop")
        yield f"http://{HOST}:{port}/orders", process
    finally:
        process.kill()
        process.wait()
        free_port(port)


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "ledger"
    path.touch()
    return path


def headers(key, **more):
    return {"idempotency-key": f'"{key}"', "authorization": "Bearer ada", **more}


async def test_ten_at_once_over_two_processes(lasting_url, ledger, fresh_key):
    """Of ten equal requests over ten connections to two processes one is handled; all get it."""
    with ExitStack() as stack:
        urls = [stack.enter_context(served(lasting_url, ledger))[0] for _ in range(2)]
        async with httpx.AsyncClient(timeout=30) as client:
            replies = await asyncio.gather(
                *(
                    client.post(urls[n % 2], json={"item": fresh_key}, headers=headers(fresh_key))
                    for n in range(10)
                )
            )
    assert {reply.status_code for reply in replies} == {201}
    assert len({reply.content for reply in replies}) == 1
    replays = [reply.headers.get("idempotent-replayed") for reply in replies]
    assert sorted(map(str, replays)) == ["None"] + ["true"] * 9
    assert ledger.read_text().split() == [fresh_key]


async def test_a_killed_process_frees_its_request(lasting_url, ledger, fresh_key):
    """A request whose process was killed is handled by another, when it is sent again."""
    with (
        served(lasting_url, ledger) as (dying, process),
        served(lasting_url, ledger) as (other, _),
    ):
        async with httpx.AsyncClient(timeout=30) as client:
            slow = headers(fresh_key, **{"x-takes": "30"})
            first = asyncio.ensure_future(client.post(dying, json={"item": "tea"}, headers=slow))
            await asyncio.to_thread(wait_until, ledger.read_text, what="the handler")
            process.kill()
            with pytest.raises(httpx.HTTPError):
                await first
            again = await client.post(other, json={"item": "tea"}, headers=headers(fresh_key))
    assert again.status_code == 201
    assert "idempotent-replayed" not in again.headers
    assert ledger.read_text().split() == ["tea", "tea"]
