"""Sources at whose path the app has no route: a slip of the pen that leaves the route unguarded."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable
from typing import Any

from ..source import Source
from .types import Scope

__all__ = ["warn_of_unserved"]

logger = logging.getLogger("webhook_dedup")


def warn_of_unserved(app: Any, sources: Iterable[Source]) -> None:
    """Warn of each source whose path no route of an app serves.

    Args:
        app: The app behind the middleware. Only routes as Starlette has them are asked.
        sources: Those with placeholders in their path are taken to be served: what a router makes
            of them is its own affair.
    """
    routes = getattr(app, "routes", None) or ()
    if not routes or not all(callable(getattr(route, "matches", None)) for route in routes):
        return
    for source in sources:
        if source.pattern.groups or any(_may_serve(route, source, app) for route in routes):
            continue
        paths = {getattr(route, "path", "") for route in routes} - {source.path}
        near = difflib.get_close_matches(source.path, paths, n=1)
        logger.warning(
            "source %r listens at %s, but the app has no %s route there%s; what is sent to another "
            "path passes through unverified and is not deduplicated",
            source.name,
            source.path,
            " or ".join(sorted(source.methods)),
            f" (is {near[0]} meant?)" if near else "",
        )


def _may_serve(route: Any, source: Source, app: Any) -> bool:
    """Ask a route; one that cannot answer for a request it was never sent is left in peace."""
    try:
        return any(
            route.matches(_scope(method, source.path, app))[0].name == "FULL"
            for method in source.methods
        )
    except Exception:  # noqa: BLE001 - a warning must not keep the app from starting
        return True


def _scope(method: str, path: str, app: Any) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
        "extensions": {},
        "app": app,
    }
