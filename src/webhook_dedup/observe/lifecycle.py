"""Observers that live as long as what they observe."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ..contracts import Closable, Inbox, Observer, Startable, Watching
from ..errors import StoreError

__all__ = ["close_observers", "start_observers"]

logger = logging.getLogger("webhook_dedup")


async def start_observers(observers: Iterable[Observer], inbox: Inbox) -> None:
    """Start the observers that can be started, and show the inbox to those that watch it.

    One whose own store is away observes what it can: events are not held up for it.
    """
    for observer in observers:
        if isinstance(observer, Startable):
            try:
                await observer.start()
            except StoreError as exc:
                logger.warning("observer %s cannot start: %s", type(observer).__name__, exc)
        if isinstance(observer, Watching):
            observer.watch(inbox)


async def close_observers(observers: Iterable[Observer]) -> None:
    """Close the observers that can be closed, whatever becomes of the others."""
    for observer in observers:
        if isinstance(observer, Closable):
            try:
                await observer.aclose()
            except Exception:
                logger.exception("observer %s could not be closed", type(observer).__name__)
