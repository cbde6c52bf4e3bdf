"""The path a source is found by, and the URL its sender called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from .errors import ConfigError
from .model import Delivery

__all__ = ["checked_url", "compile_path", "route_path", "shape_of", "url_of"]

_PLACEHOLDER = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_]*)\}")


def compile_path(path: object, name: str) -> re.Pattern[str]:
    """Return the pattern of a source's path, of which each placeholder is a group.

    A line feed at the end passes, since routers whose patterns end in ``$``, as Starlette's do,
    let it pass too: such a request reaches the handler and must not get there unverified.

    Raises:
        ConfigError: It is no path, or its placeholders are not as they should be.
    """
    if not isinstance(path, str) or not path.startswith("/"):
        raise ConfigError(
            f"path of source {name!r} must begin with '/', such as '/webhooks/{name}'; got {path!r}"
        )
    if "?" in path or "#" in path:
        raise ConfigError(f"path of source {name!r} must end before '?' and '#'; got {path!r}")
    parts = _PLACEHOLDER.split(path)
    literal, names = parts[::2], parts[1::2]
    if any("{" in part or "}" in part for part in literal) or len(set(names)) != len(names):
        raise ConfigError(
            f"path of source {name!r} may hold placeholders such as '{{tenant}}', each once; "
            f"got {path!r}"
        )
    regex = re.escape(literal[0])
    for placeholder, text in zip(names, literal[1:], strict=True):
        regex += f"(?P<{placeholder}>[^/]+){re.escape(text)}"
    return re.compile(f"{regex}\\n?")


def shape_of(path: str) -> str:
    """Return a path without the names of its placeholders."""
    return _PLACEHOLDER.sub("{}", path)


def checked_url(url: object, name: str) -> str | None:
    """Return the base URL of a source without the slash at its end.

    Raises:
        ConfigError: It is none.
    """
    if url is None:
        return None
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:  # what is in brackets is no address
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigError(
            f"public_url of source {name!r} must be a URL such as 'https://example.com', "
            f"got {url!r}"
        )
    if parts.query or parts.fragment:
        raise ConfigError(f"public_url of source {name!r} must end before '?' and '#'; got {url!r}")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def route_path(scope: Mapping[str, Any]) -> str:
    """Return the path of an HTTP scope below its ``root_path``."""
    return _below(scope["path"], scope.get("root_path", ""))


def url_of(delivery: Delivery, base: str | None) -> str:
    """Return the URL of a delivery with the path and the query exactly as they came.

    Args:
        delivery: The delivery.
        base: What stands before the path that sources are found by; from the request if ``None``.
    """
    root, path = _split(_raw_path(delivery), delivery.root_path)
    if base is None:
        base = f"{delivery.scheme}://{_host(delivery)}{root}"
    query = delivery.query_string.decode("latin-1")
    return f"{base}{path}?{query}" if query else f"{base}{path}"


def _below(path: str, root: str) -> str:
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :]
    return path


def _split(raw: str, root: str) -> tuple[str, str]:
    """Return the root path as the sender wrote it, and what of a raw path is below it."""
    parts = raw.split("/")
    for length in range(1, root.count("/") + 2):  # an escaped slash makes one part of two
        head = "/".join(parts[:length])
        if unquote(head) == root:
            return head, raw[len(head) :]
    return quote(root), raw  # a server, or a proxy before it, left the root out


def _raw_path(delivery: Delivery) -> str:
    if delivery.raw_path is None:
        return quote(delivery.path)
    # Some servers leave the query at its end.
    return delivery.raw_path.partition(b"?")[0].decode("latin-1")


def _host(delivery: Delivery) -> str:
    for name, value in delivery.headers:
        if name.lower() == b"host":
            return value.decode("latin-1")
    if delivery.server is None:
        return "localhost"
    host, port = delivery.server
    return host if port is None else f"{host}:{port}"
