"""The ledger in Redis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...backends.redis.address import Address
from ...backends.redis.connect import check_client, close_client, describe, open_client, room_for
from ...backends.redis.wire import Client, Wire
from ...contracts import Sharing
from ...errors import ConfigError
from .entry import Row
from .ledger import Wanted
from .scripts import OF_EVENT, PAGE, SINCE, TRIM, WRITE, WRITTEN

__all__ = ["RedisLedger"]

_CONNECTIONS = 2
_TIMEOUT = 5.0
_PER_PAGE = 250  # a script holds up the server: about 5 microseconds an id
_WRITTEN_AT_ONCE = 128
_GRACE = 86_400.0


class RedisLedger:
    """Keeps a history in Redis (6.2 or newer) or Valkey. In a Cluster it lies in one slot.

    Args:
        client: An asyncio client of redis-py. It stays the caller's.
        prefix: What every key begins with.
    """

    name = "redis"

    def __init__(self, client: Client, *, prefix: str = "webhook_dedup:") -> None:
        check_client(client, type(self).__name__)
        if "{}" in prefix:
            raise ConfigError(f"the prefix of a history must not contain {{}}: {prefix!a}")
        self._client = client
        self._owned = False
        self._wire = Wire(client, describe(client), room_for(client, _CONNECTIONS))
        self._base = f"{prefix}{{{prefix}history}}:".encode()
        self._keep = 7 * _GRACE

    @classmethod
    def from_url(cls, url: str, *, create: bool = True) -> RedisLedger:  # noqa: ARG003  # no tables
        """Open a ledger with a client of its own."""
        address = Address.parse(url)
        prefix = address.query.pop("prefix", "webhook_dedup:")
        client = open_client(address, timeout=_TIMEOUT, connections=_CONNECTIONS)
        ledger = cls(client, prefix=prefix)
        ledger._owned = True
        return ledger

    @classmethod
    def beside(cls, store: Sharing) -> RedisLedger:
        """Open a ledger on the client of a store, under the same prefix."""
        return cls(store.connection, prefix=store.namespace)

    async def start(self) -> None:
        await self.written("")

    async def write(self, rows: Sequence[Row]) -> None:
        for start in range(0, len(rows), _WRITTEN_AT_ONCE):
            part = rows[start : start + _WRITTEN_AT_ONCE]
            words = [word for row in part for word in (row.id, row.digest.hex(), row.data)]
            await self._wire.call(WRITE, self._base, int(self._keep + _GRACE), *words)

    async def find(self, wanted: Wanted, limit: int, below: str) -> Sequence[Row]:
        # What filters ask for is not looked at on the server, which would be held up.
        latest = min(filter(None, (below, wanted.latest)), default="")
        upper = f"({latest}" if latest else "+"
        lower = f"[{wanted.earliest}" if wanted.earliest else "-"
        return _rows(await self._wire.call(PAGE, self._base, upper, lower, min(limit, _PER_PAGE)))

    async def of_event(self, digest: bytes, limit: int) -> Sequence[Row]:
        rows = _rows(await self._wire.call(OF_EVENT, self._base, digest.hex()))
        return sorted(rows, key=lambda row: row.id)[-limit:]

    async def since(self, written: float, limit: int) -> Sequence[Row]:
        begin = int(written * 1_000_000)
        return _rows(await self._wire.call(SINCE, self._base, begin, limit))

    async def written(self, row_id: str) -> float:
        return float(await self._wire.call(WRITTEN, self._base, row_id)) / 1_000_000

    async def trim(self, keep: float, most: int, limit: int) -> int:
        self._keep = keep
        trimmed = await self._wire.call(TRIM, self._base, int(keep * 1_000_000), most, limit)
        return int(trimmed)

    async def aclose(self) -> None:
        if self._owned:
            await close_client(self._client)


def _rows(answers: Iterable[Any]) -> list[Row]:
    return [_row(*answer) for answer in answers]


def _row(row_id: bytes, entry: bytes, written: bytes) -> Row:
    digest, _, data = entry.decode("ascii", "replace").partition(":")
    moment = float(written) / 1_000_000
    return Row(row_id.decode(), "", "", "", "", bytes.fromhex(digest), data, moment)
