"""The ledger in Redis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...backends.redis.clients import Client
from ...backends.redis.connect import open_client
from ...backends.redis.wire import Wire
from ...contracts import Sharing
from ...errors import ConfigError
from ...keys import digest
from .ledger import EntryFilter
from .page import Kept, Page
from .scripts import FIND, OF_EVENT, SINCE, TRIM, WRITE, WRITTEN

__all__ = ["RedisLedger"]

_CONNECTIONS = 2
_TIMEOUT = 5.0
_AT_ONCE = 25  # pages; a script holds up the server
_GRACE = 86_400.0
_KEEP_UNTOLD = 7 * 86_400.0


class RedisLedger:
    """Keeps a history in Redis (6.2 or newer) or Valkey. In a Cluster it lies in one slot.

    Args:
        client: An asyncio client of redis-py. It stays the caller's.
        prefix: What every key begins with.
    """

    name = "redis"

    def __init__(self, client: Client, *, prefix: str = "webhook_dedup:") -> None:
        self._wire = Wire(client, type(self).__name__, _CONNECTIONS)
        if "{}" in prefix:
            raise ConfigError(f"the prefix of a history must not contain {{}}: {prefix!a}")
        self._base = f"{prefix}{{{prefix}history}}:".encode()

    @classmethod
    def from_url(cls, url: str, *, create: bool) -> RedisLedger:  # noqa: ARG003 - no tables
        """Open a ledger with a client of its own."""
        client, prefix = open_client(url, timeout=_TIMEOUT, connections=_CONNECTIONS)
        ledger = cls(client, prefix=prefix)
        ledger._wire.own()
        return ledger

    @classmethod
    def beside(cls, store: Sharing) -> RedisLedger:
        """Open a ledger on the client of a store, under the same prefix."""
        return cls(store.connection, prefix=store.namespace)

    async def start(self) -> None:
        await self.written("")

    async def write(self, pages: Sequence[Page], keep: float | None) -> None:
        lasting = int((_KEEP_UNTOLD if keep is None else keep) + _GRACE)
        for start in range(0, len(pages), _AT_ONCE):
            words = [word for page in pages[start : start + _AT_ONCE] for word in _words(page)]
            await self._wire.call(WRITE, self._base, lasting, int(keep is not None), *words)

    async def find(self, wanted: EntryFilter, limit: int, below: str) -> Sequence[Kept]:
        # What filters ask for is not looked at on the server, which would be held up.
        latest = min(filter(None, (below, wanted.latest)), default="")
        upper = f"({latest}" if latest else "+"
        lower = f"[{wanted.earliest}" if wanted.earliest else "-"
        return _pages(await self._wire.call(FIND, self._base, upper, lower, min(limit, _AT_ONCE)))

    async def of_event(self, event_id: str, limit: int, *, first: bool = False) -> Sequence[Kept]:
        name, command = digest(event_id).hex(), "ZRANGE" if first else "ZREVRANGE"
        pages = _pages(await self._wire.call(OF_EVENT, self._base, name, limit, command))
        return sorted(pages, key=lambda page: page.id)

    async def since(self, written: float, limit: int) -> Sequence[Kept]:
        begin = int(written * 1_000_000)
        return _pages(await self._wire.call(SINCE, self._base, begin, limit))

    async def written(self, page_id: str) -> float:
        return float(await self._wire.call(WRITTEN, self._base, page_id)) / 1_000_000

    async def trim(self, keep: float, most: int, limit: int) -> int:
        trimmed = await self._wire.call(TRIM, self._base, int(keep * 1_000_000), most, limit)
        return int(trimmed)

    async def aclose(self) -> None:
        await self._wire.aclose()


def _words(page: Page) -> tuple[str | int, ...]:
    digests = " ".join([digest(event_id).hex() for event_id in page.events])
    return page.id, page.size, digests, page.data


def _pages(answers: Iterable[Sequence[bytes]]) -> list[Kept]:
    return [
        Kept(page_id.decode(), data.decode("ascii", "replace"), float(written) / 1_000_000)
        for page_id, data, written in answers
    ]
