"""Where a history is kept: the contract of ledgers, and how one is opened."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from ...errors import ConfigError
from .entry import Entry
from .page import LONGEST_PAGE, Kept, Page, id_at

if TYPE_CHECKING:
    from ...contracts import Store

__all__ = ["EntryFilter", "Ledger", "open_ledger"]

_EXAMPLES = "sqlite:///webhooks.db, postgresql://… or redis://…"
_LEDGERS = {
    "sqlite": ("sql", "SqlLedger"),
    "postgres": ("sql", "SqlLedger"),
    "postgresql": ("sql", "SqlLedger"),
    "redis": ("redis", "RedisLedger"),
    "rediss": ("redis", "RedisLedger"),
    "unix": ("redis", "RedisLedger"),
    "valkey": ("redis", "RedisLedger"),
    "valkeys": ("redis", "RedisLedger"),
}


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which entries are meant. Fields that are ``None`` admit everything.

    Attributes:
        source, kind, reason: Exactly.
        event_id: Text that the event id contains; upper and lower case of ASCII are alike.
        since, until: Unix times of records, the first included, the last not.
    """

    source: str | None = None
    kind: str | None = None
    reason: str | None = None
    event_id: str | None = None
    since: float | None = None
    until: float | None = None

    def admits(self, entry: Entry) -> bool:
        """Whether an entry is meant."""
        record = entry.record
        return (
            self.source in {None, record.source}
            and self.kind in {None, record.kind.value}
            and self.reason in {None, record.reason}
            and (self.event_id is None or _contains(record.event_id or "", self.event_id))
            and (self.since is None or record.at >= self.since)
            and (self.until is None or record.at < self.until)
        )

    @property
    def earliest(self) -> str:
        """The least id of pages that may hold a wanted entry; empty if there is no bound."""
        return "" if self.since is None else id_at(self.since - LONGEST_PAGE)

    @property
    def latest(self) -> str:
        """An id above those of all such pages; empty if there is no bound."""
        return "" if self.until is None else id_at(self.until)


class Ledger(Protocol):
    """Keeps pages, in the order of their ids and in that in which they were written.

    A call raises :class:`~webhook_dedup.errors.StoreUnavailable` when the ledger cannot be
    reached; then it may have happened or not, and may be repeated.
    """

    name: str

    async def start(self) -> None:
        """Connect and prepare; may be called again."""

    async def write(self, pages: Sequence[Page], keep: float | None) -> None:
        """Keep pages. One whose id is there already is left as it is.

        Args:
            pages: What to keep.
            keep: For how many seconds at least; ``None`` where another process decides.
        """

    async def find(self, wanted: EntryFilter, limit: int, below: str) -> Sequence[Kept]:
        """List pages, the highest ids first, and below the id ``below`` if it is given.

        None that holds a wanted entry is left out; others may be among them.
        """

    async def of_event(self, event_id: str, limit: int, *, first: bool = False) -> Sequence[Kept]:
        """List pages of one event id, in the order of their ids; the last ``limit`` or the first.

        Others may be among them.
        """

    async def since(self, written: float, limit: int) -> Sequence[Kept]:
        """List pages written then or later, the first written first."""

    async def written(self, page_id: str) -> float:
        """Say when a page was written; the present time of the ledger's clock without it."""

    async def trim(self, keep: float, most: int, limit: int) -> int:
        """Delete up to ``limit`` of the pages that are too old or too many; say how many.

        A page is one too many if the later ones hold ``most`` entries or more.
        """

    async def aclose(self) -> None:
        """Free what the ledger opened itself."""


def _contains(text: str, part: str) -> bool:
    return part.casefold() in text.casefold()


def open_ledger(store: Store | str, *, create: bool) -> Ledger:
    """Open the ledger in a store, or in one that a URL names.

    Args:
        store: A store that shares its connection, or a URL as of a store.
        create: Make the table if it is absent.

    Raises:
        ConfigError: Nothing can be kept there.
        MissingExtra: A driver is not installed.
    """
    name = store.partition("://")[0].partition("+")[0] if isinstance(store, str) else store.name
    entry = _LEDGERS.get(name)
    if entry is None or not (isinstance(store, str) or hasattr(store, "connection")):
        kind = name.rpartition("@")[2]  # in a URL that is none, a password is before it
        raise ConfigError(f"a history cannot be kept in {kind}; write {_EXAMPLES}")
    module, class_name = entry
    ledger = getattr(importlib.import_module(f"{__package__}.{module}"), class_name)
    if isinstance(store, str):
        return cast(Ledger, ledger.from_url(store, create=create))
    return cast(Ledger, ledger.beside(store))
