"""Makes engines of URLs, set up for claims: one durable statement at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import URL, AsyncAdaptedQueuePool, ExceptionContext, event, make_url
from sqlalchemy.engine import Engine
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from ...errors import ConfigError, MissingExtra
from .direct import OURS
from .faults import is_of_a_replica
from .files import keep_to_file
from .hosts import connect_to_one, hosts_of
from .layout import TEXTS_KEPT
from .loops import keep_to_loops
from .poolers import set_up_asyncpg, set_up_psycopg

__all__ = ["Opened", "check_file", "open_engine"]

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
    "postgresql+psycopg": "postgresql+psycopg",
}
_POSTGRES_CONNECTIONS = 5
# Digests come in no order: what is written twice between two checkpoints goes to the file once.
# What a statement of a longer transaction may have to take back is not worth a file.
_SQLITE_ROOM = (
    "cache_size=-32000",  # KiB at most
    "wal_autocheckpoint=4000",  # pages of 4 KiB
    "temp_store=MEMORY",
)
_NAMELESS = {"file:", "file://"}  # a file that SQLite removes with its connection
# What Python's sqlite3 takes. SQLAlchemy leaves out the rest, so that another file might be meant.
_SQLITES = {"cached_statements", "check_same_thread", "detect_types", "isolation_level"}
# What SQLAlchemy's asyncpg dialect and asyncpg take as arguments; the rest of a query is libpq's.
_ASYNCPG_COUNTS = ("prepared_statement_cache_size", "statement_cache_size")
# libpq's words that hosts put into the URLs they hand out, with what asyncpg does anyway.
_ASYNCPG_DOES = {"channel_binding": {"disable", "prefer"}, "gssencmode": {"disable", "prefer"}}
_SSL_AT_WILL = {"disable", "allow", "prefer"}
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")


class Opened(NamedTuple):
    """What a URL stands for.

    Attributes:
        engine: It connects when it is used.
        timeout: That of the URL, or else the caller's.
        claims: The table of claims that the URL names, if it names one.
    """

    engine: AsyncEngine
    timeout: float
    claims: str | None


def open_engine(text: str, timeout: float) -> Opened:
    """Make an engine of a URL.

    Raises:
        ConfigError: The URL cannot be used; the message says what to write instead.
        MissingExtra: The driver is not installed.
    """
    url = _parsed(text)
    check_file(url)
    _check_directory(url)
    if "timeout" in url.query:
        timeout = _number(url, "timeout")
        url = url.difference_update_query(["timeout"])
    claims = _claims(url)
    url = url.difference_update_query(["table"])
    options = _OPTIONS[url.drivername](url, timeout)
    try:
        engine = create_async_engine(
            isolation_level="AUTOCOMMIT",
            execution_options=OURS,
            hide_parameters=True,  # headers, bodies and results, which belong in no log
            **options,
        )
    except ImportError as exc:
        raise _missing(url) from exc
    except (ArgumentError, ValueError) as exc:  # what drivers take as numbers and flags
        raise ConfigError(f"the URL cannot be used: {exc}") from exc
    _SET_UPS[engine.dialect.driver](engine.sync_engine)
    event.listen(engine.sync_engine, "handle_error", _leave_replica)
    return Opened(engine, timeout, claims)


def check_file(url: URL) -> None:
    """Refuse SQLite that is not in a file: every connection would have its own."""
    if url.get_backend_name() != "sqlite":
        return
    if url.host:
        raise ConfigError(
            "a file's URL has three slashes, sqlite:///file.db, or four when the path is absolute"
        )
    database = url.database or ":memory:"
    in_memory = "memory" in url.query.get("mode", "") or "memdb" in url.query.get("vfs", "")
    if in_memory or ":memory:" in database or database in _NAMELESS:
        raise ConfigError(
            "SQLite in memory keeps nothing beyond one connection: write memory:// instead, "
            "or sqlite:///file.db"
        )


def _check_directory(url: URL) -> None:
    path = url.database or ""
    if url.get_backend_name() == "sqlite" and not path.startswith("file:"):
        directory = Path(path).parent
        if not directory.is_dir():
            raise ConfigError(f"directory {directory} does not exist: make it, or name another")


def _parsed(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as exc:  # the port is no number
        raise ConfigError(
            "not a URL: write sqlite:///file.db or postgresql://user@host/db, percent-encode what "
            "is special in a password, and write several hosts as /db?host=one:5432&host=two:5432"
        ) from exc
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise ConfigError(
            f"{url.drivername}:// is not supported: use sqlite:///file.db, "
            "postgresql://… (asyncpg) or postgresql+psycopg://…"
        )
    return url.set(drivername=driver)


def _claims(url: URL) -> str | None:
    name = url.query.get("table")
    if name is None or isinstance(name, str):
        return name
    raise ConfigError("table= in the URL names one table, such as ?table=shop_claims")


def _number(url: URL, name: str) -> float:
    with suppress(ValueError):
        number = float(str(url.query[name]))
        if math.isfinite(number):
            return number
    raise ConfigError(f"{name}= in the URL must be a number: {url.query[name]!r}")


def _sqlite_options(url: URL, timeout: float) -> dict[str, Any]:
    strange = [] if "uri" in url.query else [name for name in url.query if name not in _SQLITES]
    if strange:
        raise ConfigError(
            f"{strange[0]}= in the URL is not known: a file's name may not have a ?, and SQLite's "
            "own parameters are written sqlite:///file:name.db?…&uri=true"
        )
    return {
        "url": url,
        # One writer is all SQLite admits; a second connection would only wait in the file's lock.
        "poolclass": AsyncAdaptedQueuePool,
        **_pool(timeout, 1),
        "connect_args": {"timeout": timeout, "cached_statements": TEXTS_KEPT},
    }


def _asyncpg_options(url: URL, timeout: float) -> dict[str, Any]:
    """Hand the URL itself to asyncpg, which knows ``sslmode`` and its kin; SQLAlchemy does not."""
    url = _with_sslmode(url)
    _check_what_asyncpg_lacks(url)
    query = dict(url.query)
    counts = {name: int(_number(url, name)) for name in _ASYNCPG_COUNTS if query.pop(name, None)}
    patience = _number(url, "connect_timeout") if query.pop("connect_timeout", None) else 0
    hosts = hosts_of(url)
    for name in _ASYNCPG_DOES:
        query.pop(name, None)
    several = len(hosts) > 1 and not url.host and "port" not in query
    if hosts:
        query["host"] = ",".join(hosts)  # of several parameters asyncpg takes the last
    dsns = [
        url.set(drivername="postgresql", query=each).render_as_string(hide_password=False)
        for each in ([{**query, "host": host} for host in hosts] if several else [query])
    ]
    return {
        "url": "postgresql+asyncpg://",
        **_pool(timeout),
        "connect_args": {
            "async_creator_fn": partial(connect_to_one, dsns),
            "timeout": patience if patience > 0 else timeout / len(dsns),
            **counts,
        },
    }


def _check_what_asyncpg_lacks(url: URL) -> None:
    for name, anyway in _ASYNCPG_DOES.items():
        if url.query.get(name, "prefer") not in anyway:
            raise ConfigError(
                f"asyncpg cannot do {name}={url.query[name]}: leave it out of the URL, or write "
                "postgresql+psycopg://"
            )
    if url.query.get("sslmode", "prefer") in _SSL_AT_WILL:
        return
    for name in _FILES:
        if name in url.query and not Path(str(url.query[name])).is_file():
            raise ConfigError(f"there is no file {url.query[name]!a}, as {name}= in the URL says")


def _psycopg_options(url: URL, timeout: float) -> dict[str, Any]:
    each = max(2, int(timeout / max(1, len(hosts_of(url)))))
    patience = {} if "connect_timeout" in url.query else {"connect_timeout": each}
    return {"url": _with_sslmode(url), **_pool(timeout), "connect_args": patience}


def _with_sslmode(url: URL) -> URL:
    """Write libpq's name for what SQLAlchemy's asyncpg dialect calls ``ssl``."""
    if "ssl" not in url.query:
        return url
    query = dict(url.query)
    return url.set(query={"sslmode": query.pop("ssl"), **query})


def _pool(timeout: float, connections: int = _POSTGRES_CONNECTIONS) -> dict[str, Any]:
    return {
        "pool_size": connections,
        "max_overflow": 0,
        "pool_timeout": timeout,
        "pool_use_lifo": True,  # the one last used knows the statements best
        "pool_reset_on_return": None,  # each statement has committed
    }


_OPTIONS = {
    "sqlite+aiosqlite": _sqlite_options,
    "postgresql+asyncpg": _asyncpg_options,
    "postgresql+psycopg": _psycopg_options,
}


def _set_up_sqlite(engine: Engine) -> None:
    event.listen(engine, "connect", _open_sqlite)
    keep_to_loops(engine)
    keep_to_file(engine)


def _open_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
        (mode,) = cursor.fetchone()
        # A commit is on the disk when it returns. Where the file system has no shared memory for a
        # WAL, that takes more: the end of a journal is an entry of its directory.
        cursor.execute(f"PRAGMA synchronous={'FULL' if mode == 'wal' else 'EXTRA'}")
        for setting in _SQLITE_ROOM:
            cursor.execute(f"PRAGMA {setting}")
        cursor.close()
    except Exception:
        connection.close()  # the pool forgets it, its thread would stay
        raise


_SET_UPS: dict[str, Callable[[Engine], None]] = {
    "aiosqlite": _set_up_sqlite,
    "asyncpg": set_up_asyncpg,
    "psycopg": set_up_psycopg,
}


def _leave_replica(context: ExceptionContext) -> None:
    """Have all connections made anew after a fail-over: the address may mean another server."""
    if is_of_a_replica(context.original_exception):
        context.is_disconnect = True


def _missing(url: URL) -> ConfigError:
    if url.drivername == "postgresql+psycopg":
        return ConfigError(
            "postgresql+psycopg:// needs psycopg; run: pip install 'psycopg[binary]'"
        )
    if url.get_backend_name() == "sqlite":
        return MissingExtra("sqlite:// stores", "sqlite")
    return MissingExtra("postgresql:// stores", "postgres")
