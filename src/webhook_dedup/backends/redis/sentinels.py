"""Sentinels that are asked once: several of them, in several rounds, may each keep silent."""

from __future__ import annotations

from typing import Any

from redis.asyncio.sentinel import MasterNotFoundError, Sentinel

from .faults import PrimaryUnknown

__all__ = ["Sentinels"]


class Sentinels(Sentinel):
    """Sentinels of which redis-py, when none of them names a primary, asks none again at once."""

    async def discover_master(self, service_name: str) -> Any:
        try:
            return await super().discover_master(service_name)
        except MasterNotFoundError as error:
            raise PrimaryUnknown(str(error)) from error
