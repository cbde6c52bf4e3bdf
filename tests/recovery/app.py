"""An app whose handler dies on cue, for real server processes.

The ledger has a line for each run that began. ``DIE_AT`` names what kills the process with
SIGKILL: the n-th run (``run:3``), or every run of one event (``event:evt_7``).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from webhook_dedup import Policy, Retries, Source, WebhookDedup, event_of

SECRET = "a test's secret"
LEDGER = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
KIND, _, MARK = os.environ.get("DIE_AT", "").partition(":")
runs = itertools.count(1)


async def hook(request):
    event = event_of(request).id
    os.write(LEDGER, f"{event}\n".encode())
    if (KIND == "run" and next(runs) == int(MARK)) or (KIND == "event" and event == MARK):
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(0.01)
    return Response("handled")


app = Starlette(routes=[Route("/hook", hook, methods=["POST"])])
app.add_middleware(
    WebhookDedup,
    store=os.environ["STORE"],
    sources=[Source("generic", name="hook", path="/hook", event_id="id", secret=SECRET)],
    policy=Policy(lease=1.0, retries=Retries(attempts=3, initial=0.1)),
)
