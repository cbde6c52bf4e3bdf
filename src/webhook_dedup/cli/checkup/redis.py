"""Examines Redis and Valkey."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ...backends.redis.connect import describe
from ...backends.redis.hazards import evicts, facts
from ...backends.redis.script import Script
from ...backends.redis.wire import Wire
from ...contracts import Sharing
from .finding import Finding, Level, clock

__all__ = ["examine_redis"]

_OLDEST = (6, 2)
_FULL = 0.9
_TIME = Script("time", "return redis.call('TIME')")


async def examine_redis(store: Sharing) -> list[Finding]:
    """Examine version, clock, memory and role; start-up warns of persistence and eviction."""
    client = store.connection
    wire = Wire(client, describe(client), 1)
    sent = time.time()
    seconds, micros = await wire.call(_TIME, f"{store.namespace}{{doctor}}".encode())
    findings = [clock(int(seconds) + int(micros) / 1_000_000, sent)]
    servers = await facts(wire)
    if not servers:
        findings.append(
            Finding(
                Level.WARNING,
                "version",
                "this user may not ask INFO: neither version nor settings can be seen",
                "allow it +info and +config|get",
            )
        )
    for server in servers:
        findings += _server(server)
    return findings


def _server(server: Mapping[str, Any]) -> Iterator[Finding]:
    version = str(server.get("redis_version", "?"))
    known = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if known < _OLDEST:
        yield Finding(
            Level.FAILURE, "version", f"Redis {version} is too old", "use Redis 6.2 or newer"
        )
    else:
        yield Finding(Level.OK, "version", f"Redis {version}")
    yield from _memory(server)
    if server.get("role") == "slave" and server.get("slave_read_only", 1):
        yield Finding(
            Level.FAILURE,
            "writes",
            "this server is a replica, which only reads: deliveries get 503",
            "give the primary's address, or that of its sentinels",
        )
    if server.get("rdb_last_bgsave_status", "ok") != "ok" or (
        server.get("aof_enabled") and server.get("aof_last_write_status", "ok") != "ok"
    ):
        yield Finding(
            Level.FAILURE, "persistence", "the last save failed", "see the log of the server"
        )


def _memory(server: Mapping[str, Any]) -> Iterator[Finding]:
    most = server.get("maxmemory", 0)
    # The server does not count what it holds for replicas and its own file.
    used = server.get("used_memory", 0) - server.get("mem_not_counted_for_evict", 0)
    if not most or used <= most * _FULL:
        return
    told = f"{used / 2**20:.1f} of {most / 2**20:.1f} MiB are used"
    if used >= most and not evicts(server):
        yield Finding(
            Level.FAILURE,
            "memory",
            f"{told} and nothing is evicted: deliveries get 503",
            "raise maxmemory, or free memory",
        )
    else:
        yield Finding(
            Level.WARNING,
            "memory",
            told,
            "raise maxmemory: a full server refuses new events or evicts done ones",
        )
