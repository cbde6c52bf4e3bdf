"""Examines Redis and Valkey."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from redis.exceptions import NoPermissionError, RedisError

from ...backends.redis.clients import Client
from ...backends.redis.hazards import evicts, facts
from ...backends.redis.resp import Word
from ...backends.redis.script import Script
from ...backends.redis.wire import Wire
from ...contracts import Sharing
from .finding import Finding, Level, clock

__all__ = ["examine_redis"]

_OLDEST = (6, 2)
_FULL = 0.9
_TIME = Script("time", "return redis.call('TIME')")
_ABSENT = "a key that is not there, where none of these changes anything"
_TRIED: Mapping[str, Mapping[str, Sequence[Word]]] = {
    "claims": {
        "+eval": ("EVAL", "return 1", 1, _ABSENT),
        "+set": ("SET", _ABSENT, "", "XX"),
        "+get": ("GET", _ABSENT),
        "+del": ("DEL", _ABSENT),
        "+pttl": ("PTTL", _ABSENT),
        "+pexpire": ("PEXPIRE", _ABSENT, 1),
    },
    "inbox": {
        "+eval": ("EVAL", "return 1", 1, _ABSENT),
        "+@hash": ("HDEL", _ABSENT, "-"),
        "+@sortedset": ("ZREM", _ABSENT, "-"),
        "+@set": ("SREM", _ABSENT, "-"),
        "+unlink": ("UNLINK", _ABSENT),
    },
}


async def examine_redis(store: Sharing, kept: Sequence[str]) -> list[Finding]:
    """Examine rights, version, clock, memory, role; start-up warns of persistence and eviction.

    Args:
        store: On the server.
        kept: What the app keeps there, of ``claims`` and ``inbox``.
    """
    client = store.connection
    wire = Wire(client, "doctor", 1)
    absent = f"{store.namespace}{{doctor}}"
    sent = time.time()
    seconds, micros = await wire.call(_TIME, absent.encode())
    findings = [clock(int(seconds) + int(micros) / 1_000_000, sent)]
    findings += await _rights(client, absent, kept)
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


async def _rights(client: Client, absent: str, kept: Sequence[str]) -> list[Finding]:
    tried = {right: words for part in kept for right, words in _TRIED[part].items()}
    missing = [
        right
        for right, words in tried.items()
        if await _forbids(client, [absent if word is _ABSENT else word for word in words])
    ]
    if not missing:
        return []
    return [
        Finding(
            Level.FAILURE,
            "rights",
            f"this user may not do all that is needed for {' and '.join(kept)}: deliveries get 503",
            f"allow it {' '.join(missing)}",
        )
    ]


async def _forbids(client: Client, command: Sequence[Word]) -> bool:
    try:
        await client.execute_command(*command)
    except NoPermissionError:
        return True
    except RedisError:  # a replica, or a full server, of which others tell
        return False
    return False


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
