"""What a driver's error means: ask again now, come back later, or call a person."""

from __future__ import annotations

import asyncio
import enum
import ssl

from sqlalchemy import exc as sqlalchemy_errors

from ...errors import SchemaError, StoreError, StoreUnavailable

__all__ = ["IF_HELD", "Fault", "fault_of", "is_of_a_replica", "translated"]

IF_HELD = "if handlers hold its connections, give the store an engine of its own"
"""What to do where none of an engine's connections comes free."""


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
_AWAY_CLASSES = (
    "08",  # connection exceptions
    "53",  # a disk or a memory that is full, too many connections
    "57",  # operator intervention, time-outs included
)
_READ_ONLY = "25006"  # a primary that was replaced
_ABSENT = {"42P01"}
# How asyncpg names a connection that is gone, or that has had the server's last word.
_GONE = {
    "InterfaceError": "connection is closed",
    "InternalClientError": "cannot switch to state",
}
_NO_PRIMARY = "None of the hosts match"  # asyncpg's word where target_session_attrs asks for one
# Without room for the -shm beside its file SQLite reads nothing either, and calls it an I/O error.
_AWAY_WITHOUT_CODE = (_NO_PRIMARY, "disk is full", "disk I/O error")
# psycopg does not give the code of what ends a log-in. A person must mend what is wrong here, and
# whatever a server or a pooler ends it with, but for some of their words.
_WRONG_HERE = ("no password supplied", "certificate", "private key", "channel binding", "invalid ")
_ENDED = "FATAL:"
_AWAY_FOR_NOW = (
    "the database system is",  # starting up, shutting down, in recovery
    "too many",
    "connection slots",
    "no more connections",
    "cannot connect",
    "server login",
    "terminating",
    "timeout",
    "crashed",
)
# By text, because PgBouncer gives one code, which also means that it is full, to all it says.
_POOLER_HINTS = {
    "statement pooling mode": "set pool_mode = transaction in the pooler",
    "unsupported startup parameter": (
        "a pooler does not pass it on: leave it out of the URL, and name a schema in table="
    ),
    "no such database": "name one that the pooler knows, or create it first",
    "no such user": "check the user, and the users that the pooler knows",
    "authentication failed": "check the user and password",
}
_EXPIRED = "certificate has expired"
# What OpenSSL says when it is the files in the URL that are wrong. Of a certificate's faults libpq
# names none.
_TLS_HINTS = {
    "certificate verify failed": (
        "name its CA in sslrootcert=, and the host in the URL as the certificate does, or renew it "
        "if it has expired"
    ),
    "KEY_VALUES_MISMATCH": "sslkey= in the URL is not the key of sslcert=",
    "PEM lib": "sslcert= in the URL needs its key, in the same file or in sslkey=",
    "NO_CERTIFICATE_OR_CRL_FOUND": "sslrootcert= in the URL is no file of certificates",
}
# By text, because it is SQLAlchemy that fails.
_ENCODING_HINTS = {
    "string pattern on a bytes-like object": (
        "psycopg takes the text of a database in SQL_ASCII for bytes: write ?client_encoding=utf8 "
        "in the URL, or postgresql:// for asyncpg"
    ),
}
_POSTGRES_HINTS = {
    _READ_ONLY: "this server is read-only, perhaps a replica: give the primary's address",
    "28000": "check the user and the server's pg_hba.conf",
    "28P01": "check the user and password",
    "3D000": "create the database first",
    "3F000": "create the schema first, and name it in table= or ?options=-csearch_path%3Dname",
    "42704": "leave it out of the URL, or write postgresql+psycopg:// if libpq knows it",
    "42501": "grant this to the user, or create the tables as another and pass create=False",
    "53100": "the server's disk is full",
    **dict.fromkeys(
        ("26000", "42P05"),
        "behind a pooler an engine must prepare nothing: give it statement_cache_size=0 and its "
        "kin, or for psycopg prepare_threshold=None",
    ),
}
# By text, because sqlite3 gives the codes from Python 3.11 only.
_SQLITE_HINTS = {
    "unable to open database file": "the directory must exist and be writable for this process",
    "readonly database": "the file and its directory must be writable for this process",
    "disk is full": "make room on the disk",
    "disk I/O error": "is there room on the disk, and is it a local one?",
    "database is locked": "another process keeps it locked",
    "disk image is malformed": "stop the app, and put a backup in its place",
    "file is not a database": "name another file",
}
# By text, because psycopg gives no code of what ends a log-in.
_CROWD_HINTS = dict.fromkeys(
    ("too many clients", "too many connections", "connection slots"),
    "let fewer connect, or raise the limit of the server or the user",
)
_POOL_HINTS = {"QueuePool limit": IF_HELD}  # SQLAlchemy's word where all are lent for too long
_HOST_HINTS = {
    _NO_PRIMARY: "is target_session_attrs= in the URL as meant, or a fail-over under way?",
}
_HINTS = {
    _EXPIRED: "renew it",
    **_POOL_HINTS,
    **_HOST_HINTS,
    **_CROWD_HINTS,
    **_SQLITE_HINTS,
    **_TLS_HINTS,
    **_POOLER_HINTS,
    **_ENCODING_HINTS,
}


def fault_of(error: BaseException) -> Fault:
    """Tell what can be done about an error of SQLAlchemy or a driver."""
    state = _sqlstate(error)
    text = str(_driver_error(error))  # SQLAlchemy's shows the parameters, which are any words
    if any(said in text for said in _POOLER_HINTS):
        return Fault.OTHER
    uncoded = "" if state else text  # what has a code may quote a row
    if state in _CONFLICTS or "is locked" in uncoded:
        return Fault.CONFLICT
    if _is_of_a_lost_connection(error):
        return Fault.LOST
    if _is_away(error, state) or any(said in uncoded for said in _AWAY_WITHOUT_CODE):
        return Fault.AWAY
    if state in _ABSENT or "no such table" in uncoded:
        return Fault.SCHEMA
    return Fault.OTHER


def translated(error: BaseException, store: str) -> StoreError:
    """Return this library's error for a driver's, without the parameters of its statement.

    The driver's, which stays behind it in tracebacks, is made to hide them as well: headers, bodies
    and results are among them, and belong in no log.
    """
    if isinstance(error, sqlalchemy_errors.StatementError):
        error.hide_parameters = True  # it may be of an engine of the user's, which shows them
    fault = fault_of(error)
    said = f"{store}: {_first_line(error)}"
    if fault is Fault.SCHEMA:
        return SchemaError(f"{said}; its tables were there at start-up, so restart to make them")
    said = _with_hint(said, _sqlstate(error))
    return StoreError(said) if fault is Fault.OTHER else StoreUnavailable(said)


def is_of_a_replica(error: BaseException | None) -> bool:
    """Whether a server refused a write because it only reads."""
    return error is not None and _sqlstate(error) == _READ_ONLY


def _driver_error(error: BaseException) -> BaseException:
    # Behind SQLAlchemy's error stands the driver's, except where connecting failed.
    return getattr(error, "orig", None) or error


def _sqlstate(error: BaseException) -> str:
    return getattr(_driver_error(error), "sqlstate", None) or ""


def _is_of_a_lost_connection(error: BaseException) -> bool:
    if isinstance(error, sqlalchemy_errors.DBAPIError):
        return error.connection_invalidated
    # By name, because asyncpg is not there for everybody. While SQLAlchemy makes a connection it
    # lets asyncpg's errors through, and at any time those of its inner state.
    kind = type(error)
    said = _GONE.get(kind.__name__) if kind.__module__.startswith("asyncpg.") else None
    return said is not None and said in str(error)


def _is_away(error: BaseException, state: str) -> bool:
    if isinstance(error, OSError | asyncio.TimeoutError | sqlalchemy_errors.TimeoutError):
        if not isinstance(error, ssl.SSLError) or _EXPIRED in str(error):  # which is being mended
            return True
        return not any(said in str(error) for said in _TLS_HINTS)
    away = state == _READ_ONLY or state.startswith(_AWAY_CLASSES)
    return away or _is_psycopg_without(error)


def _is_psycopg_without(error: BaseException) -> bool:
    """Whether psycopg got no connection, for no reason that a person must mend."""
    driver = getattr(error, "orig", None)
    return (
        type(driver).__module__.partition(".")[0] == "psycopg"
        and isinstance(error, sqlalchemy_errors.OperationalError)
        and not _sqlstate(error)
        and not _must_be_mended(str(driver))
    )


def _must_be_mended(said: str) -> bool:
    if _ENDED in said:
        return not any(words in said for words in _AWAY_FOR_NOW)
    return any(words in said for words in _WRONG_HERE)


def _first_line(error: BaseException) -> str:
    driver = _driver_error(error)
    lines = str(driver).strip().splitlines()
    return lines[0] if lines else type(driver).__name__


def _with_hint(said: str, state: str) -> str:
    hints = (hint for fragment, hint in _HINTS.items() if fragment in said)
    hint = _POSTGRES_HINTS.get(state) or next(hints, None)
    return f"{said}; {hint}" if hint else said
