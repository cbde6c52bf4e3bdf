"""A worker that is frozen past its lease loses its event to another and cannot take it back."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from tests.recovery.conftest import store
from tests.recovery.processes import Life, delivery, opened, standing
from tests.servers import wait_until
from webhook_dedup.contracts import Sought
from webhook_dedup.model import Outcome

from .wire import ask

__all__ = ["store"]

LEASE = 1.5
WAKING = {
    "is cancelled": {},
    "returns at once": {"blocks": "1"},
    "raises at once": {"blocks": "1", "then": "raise"},
}


async def eventually(server: Life, **wanted) -> None:
    what = f"{wanted}\n{server.log}"
    await asyncio.to_thread(wait_until, lambda: server.own(**wanted), what=what)


async def row_of(url: str, event: str):
    async with opened(url) as (_, inbox):
        [row] = await inbox.find(Sought(event_id=event))
        return row


@pytest.mark.parametrize("waking", WAKING.values(), ids=list(WAKING))
async def test_frozen_inside_a_handler(store, waking, tmp_path):
    """The woken handler ends as lease_lost, and neither claim nor row of the new holder change."""
    event = uuid.uuid4().hex
    gates = {name: tmp_path / name for name in ("frozen", "other")}
    for gate in gates.values():
        gate.mkdir()
    options = {"store": store, "lease": LEASE, "drain": 1}
    frozen = Life(tmp_path, gates=gates["frozen"], **waking, **options)
    other = Life(tmp_path, gates=gates["other"], **options)
    with frozen, other:
        assert (await ask(frozen.port, delivery(event, wait="gate"))).status == 200
        await eventually(frozen, run="waits")
        frozen.freeze()
        await eventually(other, run="began", id=event)
        holder, row = await standing(store, event), await row_of(store, event)
        assert holder.outcome is Outcome.IN_FLIGHT

        if waking:
            (gates["frozen"] / "gate").touch()
        frozen.wake()
        await eventually(frozen, kind="lease_lost", event_id=event)
        await asyncio.to_thread(frozen.terminate)  # drained: it has done all it would ever do
        assert (await standing(store, event)).holder == holder.holder
        assert await row_of(store, event) == row
        assert not row.history

        (gates["other"] / "gate").touch()
        await eventually(other, kind="succeeded", event_id=event)
        done = await standing(store, event)
        assert (done.outcome, done.holder) == (Outcome.DUPLICATE, holder.holder)
        assert (await ask(other.port, delivery(event, wait="gate"))).status == 200
        await eventually(other, kind="skipped", event_id=event)
    assert len(other.of(run="began")) == 2
    assert len(other.own(run="ended")) == 1
    assert bool(frozen.own(run="cut off")) != bool(waking)
    assert not frozen.of(kind="retried")
    assert not frozen.own(kind="succeeded")
    async with opened(store) as (_, inbox):
        assert await inbox.count(Sought()) == 0
