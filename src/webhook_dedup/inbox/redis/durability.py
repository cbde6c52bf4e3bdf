"""Whether a Redis keeps what it has acknowledged, read from its settings."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ...backends.redis.hazards import evicts, facts
from ...backends.redis.wire import Wire
from ...errors import StoreError, StoreUnavailable

__all__ = ["is_durable"]

logger = logging.getLogger("webhook_dedup")


async def is_durable(wire: Wire) -> bool:
    """Say whether the server outlives a crash without loss; log a WARNING with what to set."""
    remedies = await _remedies(wire)
    if remedies:
        logger.warning(
            "%s is no durable inbox: deliveries that were acknowledged are lost when it crashes; "
            "set %s",
            wire.where,
            ", ".join(remedies),
        )
    return not remedies


async def _remedies(wire: Wire) -> list[str]:
    servers, fsync = await facts(wire), await _fsync(wire)
    remedies = []
    if not servers or not all(server.get("aof_enabled") for server in servers):
        remedies.append("appendonly yes" + _unless_told(servers, "INFO"))
    if set(fsync) != {"always"}:
        remedies.append("appendfsync always" + _unless_told(fsync, "CONFIG GET appendfsync"))
    if any(map(evicts, servers)):
        remedies.append("maxmemory-policy noeviction")
    return remedies


def _unless_told(answers: Sequence[object], command: str) -> str:
    return "" if answers else f" (and allow this user {command}, so that it can be seen)"


async def _fsync(wire: Wire) -> list[str | None]:
    try:
        return await wire.setting("appendfsync")
    except StoreUnavailable:
        raise
    except StoreError:
        return []
