"""Several servers in one URL, of which the first that will do is connected to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import URL

from .faults import Fault, fault_of

__all__ = ["connect_to_one", "hosts_of"]


def hosts_of(url: URL) -> Sequence[str]:
    """Return the hosts in the query of a URL, each perhaps with its port."""
    named = url.query.get("host", ())
    return named.split(",") if isinstance(named, str) else named


async def connect_to_one(dsns: Sequence[str], **options: Any) -> Any:
    """Connect by asyncpg to the first server that will do.

    asyncpg itself has one time-out for all of them, which one that is silent would use up.

    Args:
        dsns: One for each server.
        options: As asyncpg has them; ``timeout`` is for each.
    """
    import asyncpg  # type: ignore[import-untyped]  # noqa: PLC0415 - of an extra

    *others, last = dsns
    for dsn in others:
        try:
            return await asyncpg.connect(dsn, **options)
        except Exception as exc:
            if fault_of(exc) is Fault.OTHER:
                raise
    return await asyncpg.connect(last, **options)
