"""What a driver's error means: ask again now, come back later, or call a person."""

from __future__ import annotations

import asyncio
import enum

from sqlalchemy import exc as sqlalchemy_errors

from ...errors import SchemaError, StoreError, StoreUnavailable

__all__ = ["Fault", "fault_of", "translated"]


class Fault(enum.Enum):
    """What can be done about an error."""

    CONFLICT = enum.auto()
    """Another transaction was in the way; the same again may pass."""
    LOST = enum.auto()
    """This connection is gone; another may do."""
    AWAY = enum.auto()
    """The database does not answer or takes nobody."""
    SCHEMA = enum.auto()
    """A table is absent."""
    OTHER = enum.auto()


# https://www.postgresql.org/docs/current/errcodes-appendix.html
_CONFLICTS = {"40001", "40P01", "55P03"}
_AWAY_CLASSES = ("08", "57")  # connection exceptions; operator intervention, time-outs included
_AWAY = {"53300"}  # too many connections
_ABSENT = {"42P01"}
# How asyncpg names a connection that is gone, or that has had the server's last word.
_GONE = {
    "InterfaceError": "connection is closed",
    "InternalClientError": "cannot switch to state",
}
_POSTGRES_HINTS = {
    "25006": "this server is read-only, perhaps a replica: give the primary's address",
    "28000": "check the user and the server's pg_hba.conf",
    "28P01": "check the user and password",
    "3D000": "create the database first",
    "42501": "grant this to the user, or create the tables as another and pass create=False",
    "53100": "the server's disk is full",
}
# By text, because sqlite3 gives the codes from Python 3.11 only.
_SQLITE_HINTS = {
    "unable to open database file": "the directory must exist and be writable for this process",
    "readonly database": "the file and its directory must be writable for this process",
    "disk is full": "make room on the disk",
    "file is not a database": "name another file",
}


def fault_of(error: BaseException) -> Fault:
    """Tell what can be done about an error of SQLAlchemy or a driver."""
    state = _sqlstate(error)
    text = str(error)
    if state in _CONFLICTS or "is locked" in text:
        return Fault.CONFLICT
    if _is_of_a_lost_connection(error):
        return Fault.LOST
    if isinstance(error, OSError | asyncio.TimeoutError | sqlalchemy_errors.TimeoutError):
        return Fault.AWAY
    if state in _AWAY or state.startswith(_AWAY_CLASSES):
        return Fault.AWAY
    if state in _ABSENT or "no such table" in text:
        return Fault.SCHEMA
    return Fault.OTHER


def translated(error: BaseException, store: str) -> StoreError:
    """Return the error of this library that says the same."""
    fault = fault_of(error)
    said = f"{store}: {_first_line(error)}"
    if fault is Fault.SCHEMA:
        return SchemaError(f"{said}; its tables were there at start-up, so restart to make them")
    if fault is Fault.OTHER:
        return StoreError(_with_hint(said, _sqlstate(error)))
    return StoreUnavailable(said)


def _sqlstate(error: BaseException) -> str:
    # Behind SQLAlchemy's error stands the driver's, except where connecting failed.
    driver = getattr(error, "orig", None) or error
    return getattr(driver, "sqlstate", None) or ""


def _is_of_a_lost_connection(error: BaseException) -> bool:
    if isinstance(error, sqlalchemy_errors.DBAPIError):
        return error.connection_invalidated
    # By name, because asyncpg is not there for everybody. While SQLAlchemy makes a connection it
    # lets asyncpg's errors through, and at any time those of its inner state.
    kind = type(error)
    said = _GONE.get(kind.__name__) if kind.__module__.startswith("asyncpg.") else None
    return said is not None and said in str(error)


def _first_line(error: BaseException) -> str:
    driver = getattr(error, "orig", None) or error
    lines = str(driver).strip().splitlines()
    return lines[0] if lines else type(driver).__name__


def _with_hint(said: str, state: str) -> str:
    hints = (hint for fragment, hint in _SQLITE_HINTS.items() if fragment in said)
    hint = _POSTGRES_HINTS.get(state) or next(hints, None)
    return f"{said}; {hint}" if hint else said
