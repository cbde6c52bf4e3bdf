"""Settings under which claims get lost or hang, told at start-up."""

from __future__ import annotations

import logging
from typing import Any

from ...errors import StoreError, StoreUnavailable
from .connect import waits_for_ever
from .wire import Client, Wire

__all__ = ["warn_of_hazards"]

_logger = logging.getLogger("webhook_dedup")


async def warn_of_hazards(client: Client, wire: Wire, where: str) -> None:
    """Log a WARNING for each hazard, with what to set instead."""
    if waits_for_ever(client):
        _logger.warning(
            "the client of %s has no time-out: claims hang when the server falls silent; "
            "build it with socket_timeout=5",
            where,
        )
    for policy in {server["maxmemory_policy"] for server in await _info(wire) if _evicts(server)}:
        _logger.warning(
            "%s evicts keys when it is full (maxmemory-policy %s): an evicted claim makes its "
            "event run twice; set maxmemory-policy noeviction",
            where,
            policy,
        )


async def _info(wire: Wire) -> list[dict[str, Any]]:
    try:
        return await wire.info()
    except StoreUnavailable:
        raise
    except StoreError:  # INFO is forbidden to this user; nothing depends on it
        return []


def _evicts(server: dict[str, Any]) -> bool:
    limited = bool(server.get("maxmemory"))
    return limited and server.get("maxmemory_policy", "noeviction") != "noeviction"
