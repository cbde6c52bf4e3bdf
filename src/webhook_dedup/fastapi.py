"""The event of a request as a FastAPI dependency.

Usage::

    from webhook_dedup.fastapi import EventDep

    @app.post("/webhooks/stripe")
    async def stripe(event: EventDep): ...
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from .asgi import event_of
from .model import Event

__all__ = ["EventDep"]


async def _event(request: Request) -> Event:
    return event_of(request)


EventDep = Annotated[Event, Depends(_event)]
"""The :class:`~webhook_dedup.Event` a handler was called for; see :func:`event_of`."""
