"""Where an app keeps what the operators' commands look into. Nothing is made for looking."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, NamedTuple, cast

import typer

from ..admin.lookup import Storage
from ..contracts import OperableInbox, Sharing, Store
from ..errors import ConfigError, StoreError, TableAbsent
from ..inbox import inbox_beside
from ..observe.history import History
from ..stores import open_store

__all__ = [
    "InboxUrl",
    "StoreUrl",
    "Urls",
    "inbox_of",
    "is_within_process",
    "opened_history",
    "opened_inbox",
    "opened_storage",
    "opened_store",
]

StoreUrl = Annotated[
    str,
    typer.Option("--store", envvar="WEBHOOK_DEDUP_STORE", help="URL of the store the app uses."),
]
InboxUrl = Annotated[
    str,
    typer.Option(
        "--inbox",
        envvar="WEBHOOK_DEDUP_INBOX",
        help="URL of the store beside which the app's inbox lies, if that is another.",
    ),
]

_SQL = ("sqlite", "postgres", "postgresql")


class Urls(NamedTuple):
    """URLs, as the options have them.

    Attributes:
        store: Of the app's store.
        inbox: Of the store beside which its inbox lies; empty if that is the same.
    """

    store: str
    inbox: str

    @property
    def outliving(self) -> Urls:
        """The same, but for a store that nobody else can look into: the inbox's goes for it."""
        hidden = not self.store or is_within_process(self.store)
        return Urls(self.inbox, self.inbox) if self.inbox and hidden else self


def is_within_process(url: str) -> bool:
    """Whether the store of a URL lives and ends with its process."""
    return _scheme(url) in {"memory", "bloom"}


def _scheme(url: str) -> str:
    return url.partition("://")[0].partition("+")[0]


@asynccontextmanager
async def opened_store(url: str) -> AsyncIterator[Store]:
    """Open the store of an app. No table and no file is made."""
    if not url:
        raise ConfigError("which store? pass --store URL or set WEBHOOK_DEDUP_STORE")
    scheme = _scheme(url)
    if is_within_process(url):
        raise ConfigError(f"{scheme}:// lives inside its process: nobody else can look into it")
    store = open_store(url, **({"create": False} if scheme in _SQL else {}))
    try:
        _check_file(store)
        yield store
    finally:
        await store.aclose()


def _check_file(store: Store) -> None:
    """Refuse a SQLite file that is not there: connecting would make it."""
    if store.name != "sqlite":
        return
    database: str = cast(Sharing, store).connection.url.database
    path = database.removeprefix("file:").partition("?")[0]
    if not Path(path).is_file():
        raise StoreError(f"there is no file {path}")


@asynccontextmanager
async def inbox_of(store: Store, elsewhere: str = "") -> AsyncIterator[OperableInbox]:
    """Open the inbox of an app: beside its store, or beside another whose URL is given."""
    async with AsyncExitStack() as stack:
        if elsewhere:
            store = await stack.enter_async_context(opened_store(elsewhere))
        inbox = cast(OperableInbox, inbox_beside(store))
        stack.push_async_callback(inbox.aclose)
        yield inbox


@asynccontextmanager
async def opened_inbox(urls: Urls) -> AsyncIterator[OperableInbox]:
    """Open the inbox of an app; its store is not needed where the inbox lies elsewhere."""
    async with opened_store(urls.inbox or urls.store) as store, inbox_of(store) as inbox:
        yield inbox


@asynccontextmanager
async def opened_history(store: Store, *, empty_too: bool = False) -> AsyncIterator[History | None]:
    """Open the history beside a store, if one is kept there.

    Redis has no tables, so that there one which is empty, or which a wrong prefix names, looks like
    none.

    Args:
        store: The store.
        empty_too: Open it in Redis also if it is empty.
    """
    history = History(store, trims=False)
    try:
        yield history if await _is_kept(history, store, empty_too=empty_too) else None
    finally:
        await history.aclose()


async def _is_kept(history: History, store: Store, *, empty_too: bool) -> bool:
    try:
        await history.start()
    except TableAbsent:
        return False
    return store.name != "redis" or empty_too or bool(await history.find(limit=1))


@asynccontextmanager
async def opened_storage(urls: Urls) -> AsyncIterator[Storage]:
    """Open all that an app keeps."""
    async with (
        opened_store(urls.store) as store,
        inbox_of(store, urls.inbox) as inbox,
        opened_history(store) as history,
    ):
        yield Storage(store, inbox, history)
