"""Settings under which claims get lost or hang, told at start-up."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ...errors import StoreError, StoreUnavailable
from .clients import waits_for_ever
from .wire import Wire

__all__ = ["evicts", "facts", "warn_of_hanging", "warn_of_hazards"]

logger = logging.getLogger("webhook_dedup")


def warn_of_hanging(wire: Wire) -> None:
    """Log a WARNING if a client puts up with a server that never answers."""
    if waits_for_ever(wire.client):
        logger.warning(
            "the client of %s has no time-out: calls hang when the server falls silent; "
            "build it with socket_timeout=5",
            wire.where,
        )


async def warn_of_hazards(wire: Wire) -> None:
    """Log a WARNING for each hazard to claims, with what to set instead."""
    warn_of_hanging(wire)
    for policy in {server["maxmemory_policy"] for server in await facts(wire) if evicts(server)}:
        logger.warning(
            "%s evicts keys when it is full (maxmemory-policy %s): an evicted claim makes its "
            "event run twice; set maxmemory-policy noeviction",
            wire.where,
            policy,
        )


async def facts(wire: Wire) -> list[dict[str, Any]]:
    """Return what each server says of itself; nothing where this user may not ask."""
    try:
        return await wire.info()
    except StoreUnavailable:
        raise
    except StoreError:
        return []


def evicts(server: Mapping[str, Any]) -> bool:
    """Whether a server drops keys when it is full."""
    limited = bool(server.get("maxmemory"))
    return limited and server.get("maxmemory_policy", "noeviction") != "noeviction"
