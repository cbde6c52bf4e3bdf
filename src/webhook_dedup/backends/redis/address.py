"""The URLs that name a Redis, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlencode

from ...errors import ConfigError

__all__ = ["Address", "database_number"]

_FORMS = (
    "redis://[user:password@]host[:port][/db], rediss://… (TLS), unix:///path, "
    "redis+sentinel://host:port[,host2:port2]/service[/db] or redis+cluster://host:port[,…]"
)
_DRIVER_SCHEME = {
    "redis": "redis",
    "valkey": "redis",
    "rediss": "rediss",
    "valkeys": "rediss",
    "unix": "unix",
}
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:/@\[\]]+)(?::(?P<port>[0-9]{1,5}))?")
_SENTINEL_PORT = 26379
_REDIS_PORT = 6379


@dataclass(frozen=True, slots=True)
class Address:
    """A URL taken apart; only ``login`` is secret."""

    scheme: str
    shape: str  # "", "sentinel" or "cluster"
    login: str
    hosts: tuple[tuple[str, int], ...]
    path: str
    query: dict[str, str]

    @classmethod
    def parse(cls, url: str) -> Address:
        """Take a URL apart.

        Raises:
            ConfigError: It is none of the known forms; the message shows no part of it that
                could be a password.
        """
        name, _, rest = url.partition("://")
        kind, _, shape = name.lower().partition("+")
        known = kind in _DRIVER_SCHEME and shape in {"", "sentinel", "cluster"}
        if not known or (kind == "unix" and shape):
            raise ConfigError(f"not a Redis URL; write {_FORMS}")
        rest, _, query = rest.partition("?")
        place, slash, path = rest.partition("/")
        login, _, hosts = place.rpartition("@")
        options = dict(parse_qsl(query, keep_blank_values=True))
        if (kind != "unix" and "@" in path) or any("@" in name for name in options):
            raise _unreadable_place()
        return cls(
            scheme=_DRIVER_SCHEME[kind],
            shape=shape,
            login=login,
            hosts=() if kind == "unix" else _hosts(hosts, shape),
            path=slash + path,
            query=options,
        )

    def driver_url(self, path: str) -> str:
        """Return the URL of the first host alone, as redis-py reads it."""
        # Quoted anew, since redis-py's parser stops at a "#" and shows what it cannot read.
        user, colon, password = self.login.partition(":")
        login = f"{_quoted(user)}{colon}{_quoted(password)}@" if self.login else ""
        place = ":".join(map(str, self.hosts[0])) if self.hosts else ""
        query = f"?{urlencode(self.query)}" if self.query else ""
        return f"{self.scheme}://{login}{place}{path}{query}"


def _hosts(text: str, shape: str) -> tuple[tuple[str, int], ...]:
    default = _SENTINEL_PORT if shape == "sentinel" else _REDIS_PORT
    hosts = []
    for part in (text or "localhost").split(","):
        match = _HOST.fullmatch(part)
        if match is None or not 0 < int(match["port"] or default) < 2**16:
            raise _unreadable_place()
        hosts.append((match["host"], int(match["port"] or default)))
    if len(hosts) > 1 and not shape:
        raise ConfigError(
            "several hosts in one Redis URL: write redis+sentinel://… or redis+cluster://…"
        )
    return tuple(hosts)


def _quoted(text: str) -> str:
    return quote(unquote(text), safe="")


def _unreadable_place() -> ConfigError:
    # It does not show the place: an unescaped "/" or "?" makes a password look like what follows.
    return ConfigError(
        "the Redis URL has no valid host and port (percent-encode special characters in the "
        f"password); write {_FORMS}"
    )


def database_number(text: str) -> int:
    """Read the database in a URL's path; none means 0.

    Raises:
        ConfigError: It is not a number.
    """
    if text and not (text.isascii() and text.isdigit()):
        raise ConfigError(f"the database in a Redis URL is a number, not {text!a}")
    return int(text or 0)
