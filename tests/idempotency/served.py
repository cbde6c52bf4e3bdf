"""A shop for real server processes: each order that is handled is a line in the ledger."""

from __future__ import annotations

import asyncio
import os

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from webhook_dedup import IdempotencyMiddleware

LEDGER = os.open(os.environ.get("LEDGER", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


async def order(request):
    item = (await request.json())["item"]
    os.write(LEDGER, f"{item}\n".encode())
    await asyncio.sleep(float(request.headers.get("x-takes", "0.05")))
    return JSONResponse({"item": item, "process": os.getpid()}, 201)


app = Starlette(routes=[Route("/orders", order, methods=["POST"])])
app.add_middleware(
    IdempotencyMiddleware, store=os.environ.get("STORE", "memory://"), lease=1.0, wait=10
)
