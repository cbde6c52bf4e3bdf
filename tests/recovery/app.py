"""An app whose handlers die, wait, block or raise on cue, for real server processes.

The ledger has a line for each run that began, waits, was cut off or ended, and for each record.
``DIE_AT`` names what kills the process with SIGKILL: the n-th run (``run:3``), or every run of one
event (``event:evt_7``). A run whose event says ``"wait": "name"`` lasts until a file of that name
is in the directory ``GATES``; with ``BLOCKS`` the whole process stands still meanwhile, and with
``THEN=raise`` the run fails in the end.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import time
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.asgi.kit import source
from tests.asgi.served import Ledger
from webhook_dedup import Policy, Retries, WebhookDedup, event_of


def setting(name: str, default: str = "") -> str:
    return os.environ.get(f"SERVED_{name}", default)


KIND, _, MARK = setting("DIE_AT").partition(":")
GATES = Path(setting("GATES"))
PAUSE = 0.01
ledger = Ledger(setting("LEDGER", os.devnull))
runs = itertools.count(1)


async def hook(request: Request) -> Response:
    event = event_of(request).id
    ledger.write(run="began", id=event)
    _die_perhaps(event)
    try:
        await _work(event, (await request.json()).get("wait"))
    except asyncio.CancelledError:
        ledger.write(run="cut off", id=event)
        raise
    ledger.write(run="ended", id=event)
    return Response("handled")


def _die_perhaps(event: str) -> None:
    if (KIND == "run" and next(runs) == int(MARK)) or (KIND == "event" and event == MARK):
        os.kill(os.getpid(), signal.SIGKILL)


async def _work(event: str, gate: str | None) -> None:
    await asyncio.sleep(PAUSE)
    ledger.write(run="waits", id=event)
    while gate and not (GATES / gate).exists():
        if setting("BLOCKS"):
            time.sleep(PAUSE)  # noqa: ASYNC251 - as careless handlers do
        else:
            await asyncio.sleep(5 * PAUSE)  # hundreds may wait here
    if gate and setting("THEN") == "raise":
        raise RuntimeError("told to fail")


def build() -> Starlette:
    app = Starlette(routes=[Route("/hook", hook, methods=["POST"])])
    app.add_middleware(
        WebhookDedup,
        store=setting("STORE"),
        sources=[source(name="hook", path="/hook")],
        observers=[ledger],
        policy=Policy(
            lease=float(setting("LEASE", "1")),
            drain_timeout=float(setting("DRAIN", "20")),
            retries=Retries(attempts=3, initial=0.1),
            max_in_flight=int(setting("AT_ONCE", "256")),
        ),
    )
    return app


if setting("LEDGER"):
    logging.basicConfig(format="%(name)s %(message)s")
    app = build()
