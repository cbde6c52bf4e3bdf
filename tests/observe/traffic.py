"""A run of the middleware with everything that is counted, and what it must come to."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from tests.asgi.kit import Records, deliver, living, policy, settled, source
from webhook_dedup import WebhookDedup
from webhook_dedup.policy import Retries

__all__ = ["EXPECTED", "observed", "run"]

COPIES = 5

EXPECTED = {
    "deliveries": COPIES + 1 + 1 + 1,
    "skips duplicate": COPIES,
    "rejections missing_signature": 1,
    "runs": 4,
    "successes": 2,
    "failures": 2,
    "retries": 1,
    "dead_letters": 1,
}
"""Five copies of a push at once, one of them later, one event that fails once and one that dies."""


@asynccontextmanager
async def observed(handler, *observers, store="memory://"):
    """Mount a handler under observers."""
    records = Records()
    app = WebhookDedup(
        handler,
        store=store,
        sources=[source()],
        observers=[records, *observers],
        policy=policy(retries=Retries(attempts=2, initial=0.01, jitter=0)),
    )
    async with living(app):
        yield app, records


def body(event_id):
    return f'{{"id": "{event_id}"}}'.encode()


async def run(app, handler):
    """Send what :data:`EXPECTED` counts."""
    handler.gate.clear()
    copies = [asyncio.ensure_future(deliver(app, body("push"))) for _ in range(COPIES)]
    await handler.inside.wait()
    handler.gate.set()
    await asyncio.gather(*copies)
    await settled(app)
    await deliver(app, body("push"))
    assert (await deliver(app, body("forged"), headers={})).status == 401
    handler._statuses[:] = [500]
    await deliver(app, body("flaky"))
    await settled(app)
    handler._statuses[:] = [422]
    await deliver(app, body("poison"))
