"""The keys of what a log line names: who deduplicates is not in it, only under which name."""

from __future__ import annotations

from typing import Annotated

import typer

from ..desk.deeds import Subject
from ..errors import ConfigError
from ..idempotency.function import joined
from ..model import Key

__all__ = ["RequestLine", "keys_of", "unknown"]

RequestLine = Annotated[
    str,
    typer.Option(
        "--request",
        metavar="'METHOD /PATH'",
        help="Of a key of IdempotencyMiddleware: the request that came with it.",
    ),
]


def keys_of(subject: Subject, request: str = "") -> list[str]:
    """Return the keys that an event may have which its log line names.

    A source's comes first. ``once``, functions and guards claim under the very name that they are
    recorded with.

    Args:
        subject: What the log line says.
        request: Method and path, of which ``IdempotencyMiddleware`` makes its keys as well.

    Raises:
        ConfigError: ``request`` is no method and path.
    """
    source, event_id, tenant = subject.source, subject.event_id, subject.tenant
    if request:
        return [str(Key(source, joined((*_line(request), event_id), "--request"), tenant))]
    return [str(Key(scope, event_id, tenant)) for scope in (f"webhook:{source}", source)]


def _line(request: str) -> tuple[str, str]:
    method, _, path = request.strip().partition(" ")
    if not path.startswith("/"):
        raise ConfigError(f"--request takes method and path, got {request!a}; write 'POST /orders'")
    return method.upper(), path


def unknown(request: str) -> str:
    """Say that none of the keys is there, and of which that is known."""
    if request:
        return "neither holds nor remembers this request, which would be handled"
    return (
        "neither holds nor remembers an event of a source or a key of a function under this name, "
        "so as one of these it would run; a key of IdempotencyMiddleware is only found with "
        "--request 'POST /path'"
    )
