"""What is said once, at start-up, because it could surprise."""

from __future__ import annotations

import logging
from collections.abc import Collection

from .contracts import Inbox
from .routes import Route

__all__ = ["warn_of_surprises"]

logger = logging.getLogger("webhook_dedup")


def warn_of_surprises(routes: Collection[Route], inbox: Inbox) -> None:
    """Warn of what is allowed and may be more than its user wants."""
    unsigned = [route.source.name for route in routes if not route.source.signed]
    if unsigned:
        logger.warning(
            "unsigned sources, anyone can send to them: %s; give each a secret=…",
            ", ".join(unsigned),
        )
    guessed = [route.source.name for route in routes if route.source.guesses_url]
    if guessed:
        logger.warning(
            "the senders of %s sign the URL they call, which is put together from each request "
            "here; behind a proxy it is another one and every signature fails (a forged Host "
            "header fails too, so nothing gets in): give each its public_url=…",
            ", ".join(guessed),
        )
    doubled = [
        route.source.name
        for route in routes
        if (route.source.public_url or "").endswith(route.source.path) and route.source.path != "/"
    ]
    if doubled:
        logger.warning(
            "public_url of %s ends with the source's path, which then stands twice in the URL "
            "that signatures are checked against; leave the path out",
            ", ".join(doubled),
        )
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
