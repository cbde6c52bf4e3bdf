"""A server that is told to stop with 200 events in flight loses none of them."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter

import pytest

from tests.every_store import durable_redis
from tests.recovery.processes import Life, delivery, opened
from tests.servers import wait_until
from webhook_dedup.contracts import Sought

from .processes import COMMANDS
from .wire import ask

IN_FLIGHT = 200
# Uvicorn and hypercorn cut off their requests so soon that the app's own drain must see to the
# rest; granian leaves that to the app anyway.
IMPATIENT = {
    "uvicorn": ("--timeout-graceful-shutdown", "1"),
    "hypercorn": ("--graceful-timeout", "1"),
    "granian": (),
}


@pytest.fixture(params=["sqlite", "redis"])
def store(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/webhooks.db"
    else:
        with durable_redis() as server:
            yield server.url


def ended(server: Life) -> Counter:
    return Counter(line["id"] for line in server.of(run="ended"))


@pytest.mark.parametrize("kind", COMMANDS)
async def test_sigterm_with_200_in_flight(kind, store, tmp_path):
    """Of 200 acknowledged events those that end within the drain ran once, the others run later."""
    gates = {f"evt_{number}": ("soon", "late")[number % 2] for number in range(IN_FLIGHT)}
    options = {"store": store, "lease": 10, "gates": tmp_path}
    with Life(tmp_path, kind, IMPATIENT[kind], drain=4, **options) as one:
        answers = asyncio.gather(*(ask(one.port, delivery(e, wait=g)) for e, g in gates.items()))
        await asyncio.to_thread(
            wait_until, lambda: len(one.of(run="began")) == IN_FLIGHT, what="200 runs"
        )
        assert not ended(one)
        one.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(1.5)  # the servers' own patience ends, the app's drain goes on
        (tmp_path / "soon").touch()
        await asyncio.to_thread(one.process.wait, 30)
        assert {answer.status for answer in await answers} == {200}
    within = [event for event, gate in gates.items() if gate == "soon"]
    assert ended(one) == dict.fromkeys(within, 1)
    assert len(one.of(run="cut off")) == IN_FLIGHT - len(within)
    (tmp_path / "late").touch()
    with Life(tmp_path, kind, **options) as two:
        await asyncio.to_thread(
            wait_until, lambda: len(ended(two)) == IN_FLIGHT, what="the other runs"
        )
        await asyncio.to_thread(two.terminate)
    assert ended(two) == dict.fromkeys(gates, 1)
    async with opened(store) as (_, inbox):
        assert await inbox.count(Sought()) == 0
