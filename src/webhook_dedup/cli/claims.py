"""Claims: the keys behind a log line, and how one is shown to machines.

A log line has a name but does not say whose: a source's or another's.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..admin.actions import Subject
from ..admin.lookup import key_of_request, keys_of
from ..errors import ConfigError
from ..model import Claim

__all__ = ["RequestLine", "facts_of", "named_keys", "request_line", "unknown"]

RequestLine = Annotated[
    str,
    typer.Option(
        "--request",
        metavar="'METHOD /PATH'",
        help="Of a key of IdempotencyMiddleware: the request that came with it.",
    ),
]


def named_keys(subject: Subject, request: str) -> list[str]:
    """Return the keys that an event may have, by what its log line says.

    Args:
        subject: What the log line says.
        request: Method and path, if it is a key of ``IdempotencyMiddleware``.

    Raises:
        ConfigError: ``request`` is no method and path.
    """
    named = subject.event_id, subject.source, subject.tenant
    return [key_of_request(request_line(request), *named)] if request else keys_of(*named)


def request_line(given: str) -> str:
    """Return method and path as records have them.

    Raises:
        ConfigError: It is none.
    """
    method, _, path = given.strip().partition(" ")
    if not path.startswith("/"):
        raise ConfigError(f"--request takes method and path, got {given!a}; write 'POST /orders'")
    return f"{method.upper()} {path}"


def unknown(request: str) -> str:
    """Say that the store has none of the keys, and which kinds of keys it was asked for."""
    if request:
        return "neither holds nor remembers this request, which would be handled"
    return (
        "neither holds nor remembers an event of a source or a key of a function under this name, "
        "so as one of these it would run; a key of IdempotencyMiddleware is only found with "
        "--request 'POST /path'"
    )


def facts_of(claim: Claim) -> dict[str, Any]:
    """Return what is told of a claim that is held or done; ``remaining`` is in seconds."""
    return {
        "state": "done" if claim.done else "held",
        "holder": claim.holder,
        "first_seen": claim.first_seen,
        "remaining": claim.remaining,
    }
