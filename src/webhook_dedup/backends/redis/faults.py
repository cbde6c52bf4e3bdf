"""What redis-py raises, in this library's words and with what to do about it."""

from __future__ import annotations

import asyncio
import re
from types import TracebackType

from redis import exceptions as driver
from redis.asyncio.sentinel import MasterNotFoundError

from ...errors import StoreError, StoreUnavailable

__all__ = [
    "OldServer",
    "PrimaryUnknown",
    "Translating",
    "WrongType",
    "code_of",
    "may_be_replaced",
    "translate",
]

_FAULTS = (driver.RedisError, driver.RedisClusterException, OSError, asyncio.TimeoutError)

# redis-py strips the code from errors it has a class for, and a script buries it in its text.
_CODE = re.compile(r"(?:^|[ :-])([A-Z]{3,})(?= )")
# Redis before 7.2 and Valkey have no code where a script may not run a command or touch a key.
_FORBIDDEN_TO_A_SCRIPT = ("The user executing the script can't", "ACL failure in script")
_CODE_OF_CLASS: tuple[tuple[type[Exception], str], ...] = (
    (driver.AuthenticationError, "NOAUTH"),
    (driver.AuthorizationError, "NOPERM"),
    (driver.NoPermissionError, "NOPERM"),
    (driver.AuthenticationWrongNumberOfArgsError, "NOAUTH"),
    (driver.BusyLoadingError, "LOADING"),
    (driver.OutOfMemoryError, "OOM"),
    (driver.ReadOnlyError, "READONLY"),
    (driver.ClusterCrossSlotError, "CROSSSLOT"),
    (driver.MovedError, "MOVED"),
    (driver.AskError, "MOVED"),
)
_AWAY: dict[str, str] = {
    "OOM": "is full: free memory or raise maxmemory",
    "READONLY": "is a read-only replica: connect to the primary, or wait for the fail-over",
    "MISCONF": "refuses writes because it cannot save to disk",
    "NOREPLICAS": "refuses writes because too few replicas are connected",
    "MASTERDOWN": "has lost its primary",
    "LOADING": "is still loading its data",
    "CLUSTERDOWN": "is a cluster that is down",
    "TRYAGAIN": "is a cluster that is moving this key",
    "BUSY": "is busy with a long script",
}
_REPLACED = {"READONLY", "NOREPLICAS"}
_WRONG: dict[str, str] = {
    "NOAUTH": "refuses the login: check user name and password",
    "WRONGPASS": "refuses the login: check user name and password",
    "NOPERM": (
        "forbids this user a command or a key: on the keys of the prefix (~webhook_dedup:*) allow "
        "+ping +select +time +eval +evalsha, for claims +set +get +del +pttl +pexpire, for an "
        "inbox +@hash +@sortedset +@set +unlink, in a Cluster +command +cluster|slots"
    ),
    "MOVED": "is a node of a Redis Cluster: write redis+cluster:// or pass a RedisCluster",
    "CROSSSLOT": "is a node of a Redis Cluster: write redis+cluster:// or pass a RedisCluster",
}
# OpenSSL's words for what a handshake failed of; the code they begin with differs by release.
_TLS = re.compile(r"\[(?:SSL|X509)[^]]*: (?:\w+?_ALERT_)?(\w+)\]")
_CLIENT_CERTIFICATE = (
    "wants a client certificate that it trusts: name one in ssl_certfile= and ssl_keyfile="
)
_EXPIRED = "certificate has expired"
_HANDSHAKE: dict[str, str] = {
    "CERTIFICATE_VERIFY_FAILED": (
        "shows a certificate that is not trusted: name its CA in ssl_ca_certs=, and the host as "
        "the certificate does"
    ),
    "CERTIFICATE_REQUIRED": _CLIENT_CERTIFICATE,
    "BAD_CERTIFICATE": _CLIENT_CERTIFICATE,
    "CERTIFICATE_EXPIRED": "refuses the client's certificate, which has expired: renew it",
    "HANDSHAKE_FAILURE": f"shares no way of TLS with this client, or {_CLIENT_CERTIFICATE}",
    "UNKNOWN_CA": _CLIENT_CERTIFICATE,
    "WRONG_VERSION_NUMBER": "speaks no TLS: write redis:// in place of rediss://",
}
_ALONE = "Cluster mode is not enabled"
_NOWHERE = "TTL exhausted"  # redis-py was sent to and fro, or told to try again, 16 times
_UNNAMED = (
    "cannot be reached: no sentinel names its primary; are the sentinels up at these addresses, do "
    "they know the service, and do they speak TLS where the URL says rediss?"
)
_LOCKED = (
    "has sentinels that refuse the login: check sentinel_username= and sentinel_password= in the "
    "URL, which are theirs alone"
)


class PrimaryUnknown(driver.TimeoutError):
    """No sentinel names a primary; unlike redis-py's error for it, none that is retried at once."""


class OldServer(StoreError):
    """The server is older than 7 and does not know ``SET … NX GET``."""


class WrongType(StoreError):
    """The key holds no string."""


_UNREACHED = (driver.TimeoutError, driver.ConnectionError, driver.ClusterError)
_KINDS = {"syntax error": OldServer, "WRONGTYPE": WrongType}


class Translating:
    """A context in which what redis-py raises becomes a :class:`StoreError` naming the server."""

    __slots__ = ("_where",)

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, _FAULTS):
            raise translate(error, self._where) from error


def translate(error: Exception, where: str) -> StoreError:
    """Say what an error of redis-py means for a store."""
    code = code_of(error)
    if code in _WRONG:
        return StoreError(f"{where} {_WRONG[code]} ({error})")
    if code in _AWAY:
        return StoreUnavailable(f"{where} {_AWAY[code]} ({error})")
    if isinstance(error, PrimaryUnknown | MasterNotFoundError):
        return _unnamed(error, where)
    if not isinstance(error, driver.RedisError) or isinstance(error, _UNREACHED):
        return _unreached(error, where)
    kind = next((kind for text, kind in _KINDS.items() if text in str(error)), StoreError)
    return kind(f"{where} answered: {error}")


def may_be_replaced(error: Exception) -> bool:
    """Whether a server refused a write that another one may take by now.

    A primary that its replicas have left does not know that one of them has become the primary.
    """
    return code_of(error) in _REPLACED


def _unnamed(error: Exception, where: str) -> StoreError:
    """Tell of sentinels, without redis-py's text, which shows their clients at length."""
    if driver.AuthenticationError.__name__ in str(error):
        return StoreError(f"{where} {_LOCKED}")
    return StoreUnavailable(f"{where} {_UNNAMED}")


def _unreached(error: Exception, where: str) -> StoreError:
    if _EXPIRED in str(error):  # which somebody is likely to be mending
        return StoreUnavailable(f"{where} shows a certificate that has expired: renew it ({error})")
    handshake = _TLS.search(str(error))
    if handshake and handshake[1] in _HANDSHAKE:  # waiting does not help
        return StoreError(f"{where} {_HANDSHAKE[handshake[1]]} ({error})")
    if _ALONE in str(error):  # which redis-py says of a user who may not ask, too
        return StoreError(
            f"{where} does not tell of a Redis Cluster: write redis://, or allow this user "
            f"+command +cluster|slots ({error})"
        )
    if _NOWHERE in str(error):
        return StoreUnavailable(f"{where} {_AWAY['TRYAGAIN']} ({error})")
    # Of a pool without a free connection redis-py's Cluster says no word.
    return StoreUnavailable(f"{where} cannot be reached: {str(error) or type(error).__name__}")


def code_of(error: Exception) -> str | None:
    """Return the server's word for an error, if it is one that matters here."""
    for kind, code in _CODE_OF_CLASS:
        if isinstance(error, kind):
            return code
    if isinstance(error, driver.ResponseError):
        if any(said in str(error) for said in _FORBIDDEN_TO_A_SCRIPT):
            return "NOPERM"
        codes = [code for code in _CODE.findall(str(error)) if code in _AWAY or code in _WRONG]
        return codes[0] if codes else None
    return None
