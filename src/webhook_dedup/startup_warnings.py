"""Warnings at start-up, once each, of settings that could surprise."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from .contracts import Inbox
from .routes import Route
from .source import Source

__all__ = ["warn_at_startup"]

logger = logging.getLogger("webhook_dedup")


def _doubles_its_path(source: Source) -> bool:
    return source.path != "/" and (source.public_url or "").endswith(source.path)


# Of which sources, and what is said of them.
_WARNINGS: tuple[tuple[Callable[[Source], bool], str], ...] = (
    (
        lambda source: not source.signed,
        "unsigned sources, anyone can send to them: %s; give each a secret=…",
    ),
    (
        lambda source: source.guesses_url,
        (
            "the senders of %s sign the URL they call, which is put together from each request "
            "here; behind a proxy it is another one and every signature fails (a forged Host "
            "header fails too, so nothing gets in): give each its public_url=…"
        ),
    ),
    (
        _doubles_its_path,
        (
            "public_url of %s ends with the source's path, which then stands twice in the URL "
            "that signatures are checked against; leave the path out"
        ),
    ),
)


def warn_at_startup(routes: Collection[Route], inbox: Inbox) -> None:
    """Warn of what is allowed and may be more than its user wants."""
    for is_meant, message in _WARNINGS:
        names = [route.source.name for route in routes if is_meant(route.source)]
        if names:
            logger.warning(message, ", ".join(names))
    early = [route.source.name for route in routes if route.source.ack != "handled"]
    if early and not inbox.durable:
        logger.warning(
            "accepted events of %s are kept in %s until they are handled and can be lost with "
            "it; use a durable store, or ack='handled' to acknowledge after the handler",
            ", ".join(early),
            inbox.name,
        )
    for route in routes:
        _warn_of_short_memory(route)


def _warn_of_short_memory(route: Route) -> None:
    preset = route.source.preset
    if route.ttl < preset.horizon:
        logger.warning(
            "source %s remembers events for %.0f s, but %s retries for %.0f s; "
            "raise ttl or a late retry runs twice",
            route.source.name,
            route.ttl,
            preset.title,
            preset.horizon,
        )
