"""Acknowledge, then run: ``ack="first"`` and ``ack="claimed"``."""

from __future__ import annotations

import asyncio

from ..errors import RejectedDelivery
from ..model import Delivery, Event
from ..standing import Standing
from .exchange import Exchange
from .responses import acknowledge, acknowledge_claimed

__all__ = ["respond_claimed", "respond_first"]


async def respond_first(
    exchange: Exchange, delivery: Delivery, event: Event
) -> asyncio.Future[None]:
    """Record, acknowledge, then claim and run. Return the end of the run."""
    dedup = exchange.dedup
    item = dedup.item(delivery, event)
    await dedup.runner.accept(item)
    try:
        await acknowledge(exchange.send, exchange.preset)
    finally:
        # Accepted is accepted, even if the acknowledgement did not get through.
        run = dedup.runner.run(item, dedup.job(exchange.route, event, delivery))
    return run


async def respond_claimed(
    exchange: Exchange, delivery: Delivery, event: Event
) -> asyncio.Future[None]:
    """Record and claim, acknowledge with what the claim said, then run. Return its end."""
    dedup = exchange.dedup
    item = dedup.item(delivery, event)
    job = dedup.job(exchange.route, event, delivery)
    await dedup.runner.accept(item)
    standing: Standing | None = None
    try:
        standing = await exchange.claim(job, item.id)
        if standing is not None:  # copies may come while the acknowledgement is on its way
            dedup.runner.expect(standing)
        duplicate = standing is not None and not standing.to_run
        await acknowledge_claimed(exchange.send, exchange.preset, duplicate=duplicate)
    except RejectedDelivery:
        await dedup.runner.withdraw(item)  # the sender was told to come again
        raise
    except BaseException:
        dedup.runner.run(item, job, standing)
        raise
    return dedup.runner.run(item, job, standing)
