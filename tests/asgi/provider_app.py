"""An app of several providers for real server processes, configured by its environment.

The ledger has a line for each effect and each record. ``DIE_AFTER`` names how many items are
settled before SIGKILL; ``SETTLES`` tells the handler to settle each item after its effect.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from webhook_dedup import Policy, Source, WebhookDedup, event_of
from webhook_dedup.observe.log import fields

LEDGER = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
SECRETS = json.loads(os.environ["SECRETS"])
SETTLES = bool(os.environ.get("SETTLES"))
SECONDS = float(os.environ.get("SECONDS", "0"))
left_to_live = int(os.environ.get("DIE_AFTER", "-1"))


def write(**line) -> None:
    os.write(LEDGER, json.dumps({"pid": os.getpid(), **line}).encode() + b"\n")


class Observer:
    def record(self, record) -> None:
        write(**fields(record))


async def settle(item) -> None:
    global left_to_live  # noqa: PLW0603 - one process, one handler
    await item.done()
    left_to_live -= 1
    if left_to_live == 0:
        os.kill(os.getpid(), signal.SIGKILL)


async def hook(request):
    event = event_of(request)
    for item in event.items:
        write(effect=item.event.id)
        if SETTLES:
            await settle(item)
    if not event.items:
        write(effect=event.id)
    await asyncio.sleep(SECONDS)
    return JSONResponse({"type": 4})


app = Starlette(routes=[Route("/webhooks/{name}", hook, methods=["POST"])])
app.add_middleware(
    WebhookDedup,
    store=os.environ["STORE"],
    sources=[
        Source(name, path=f"/webhooks/{name}", secret=secret) for name, secret in SECRETS.items()
    ],
    observers=[Observer()],
    policy=Policy(lease=1.0),
)
