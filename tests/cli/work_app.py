"""An app that one process serves and others work for.

The ledger has a line for each run that began and each that ended: process, event, what happened.
"""

from __future__ import annotations

import asyncio
import gc
import os
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Mount, Route

from tests.cli.operating import SECRET
from webhook_dedup import Policy, Source, WebhookDedup, event_of

SECONDS = float(os.environ.get("HANDLER_SECONDS", "0.01"))
START_SECONDS = float(os.environ.get("START_SECONDS", "0"))


def note(text: str) -> None:
    with Path(os.environ["LEDGER"]).open("a") as ledger:
        ledger.write(f"{os.getpid()} {text}\n")


async def hook(request):
    event = event_of(request).id
    note(f"{event} began")
    if event == "frozen" and gc.get_freeze_count():
        note(f"{event} seen")
    await asyncio.sleep(SECONDS)
    note(f"{event} ended")
    return Response("handled")


sources = [Source("generic", name="hook", path="/hook", event_id="id", secret=SECRET)]
dedup = Middleware(
    WebhookDedup,
    store=os.environ["STORE"],
    sources=sources,
    policy=Policy(lease=1.0),
    work=False,
)


@asynccontextmanager
async def lifespan(_):
    if START_SECONDS:
        note("app began")
        await asyncio.sleep(START_SECONDS)
    yield
    if START_SECONDS:
        note("app ended")


app = Starlette(
    routes=[Route("/hook", hook, methods=["POST"])], middleware=[dedup], lifespan=lifespan
)
below = Starlette(routes=[Mount("/below", app)])
without = Starlette()
in_memory = Starlette(middleware=[Middleware(WebhookDedup, store="memory://", sources=sources)])
answering = [
    Source("generic", path="/hook", event_id="id", secret=SECRET, ack="handled"),
]
handled = Starlette(
    middleware=[Middleware(WebhookDedup, store=os.environ["STORE"], sources=answering)]
)


@asynccontextmanager
async def _fails(_):
    raise RuntimeError("this app cannot start")
    yield


failing = Starlette(lifespan=_fails)
