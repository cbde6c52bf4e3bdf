"""The options of ``IdempotencyMiddleware``, and how they are checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..asgi.responses import BODILESS
from ..asgi.types import Scope
from ..contracts import Store
from ..dedup import Dedup
from ..errors import ConfigError
from ..providers import Parsed
from ..urls import route_path

__all__ = [
    "Options",
    "below",
    "caller_of",
    "error_status",
    "everywhere",
    "replayed_as",
    "required_of",
    "roots_of",
]

Holds = Callable[[Scope], bool]


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the middleware, checked; see there."""

    store: Dedup | Store | str
    scope: str
    header: bytes
    client_id: Callable[[Parsed], object] | None
    caller: Callable[[Scope], str | None]
    required: Holds
    wait: float
    lease: float
    ttl: float
    max_body: int
    missing_status: int
    in_progress_status: int
    mismatch_status: int
    replay_status: Mapping[int, int]
    docs: str


def everywhere(holds: bool) -> Holds:
    """Say the same of every request."""
    return lambda _: holds


def below(roots: Sequence[str]) -> Holds:
    """Match the requests of some paths and of what is below them.

    A line feed at the end is no other path, since routers whose patterns end in ``$``, as
    Starlette's do, let it pass.

    Raises:
        ConfigError: One does not begin with a slash.
    """
    for root in roots:
        if not root.startswith("/"):
            raise ConfigError(f"a path begins with a slash, got {root!r}; write {'/' + root!r}")
    exact = frozenset(root.rstrip("/") for root in roots)
    prefixes = tuple(f"{root}/" for root in exact)

    def holds(scope: Scope) -> bool:
        path = route_path(scope).removesuffix("\n")
        return path in exact or path.startswith(prefixes)

    return holds


def required_of(required: bool | Iterable[str], guarded: Sequence[str]) -> Holds:
    """Match the requests that must have a key.

    Raises:
        ConfigError: A path does not begin with a slash, or nothing of it is guarded.
    """
    if isinstance(required, bool):
        return everywhere(required)
    roots = roots_of(required)
    for root in roots:
        scopes = [{"path": path} for path in guarded]
        if not below(guarded)({"path": root}) and not any(map(below([root]), scopes)):
            raise ConfigError(f"required={root!r} is not among paths=…, which guards it; add it")
    return below(roots)


def roots_of(paths: Iterable[str]) -> list[str]:
    """Return paths as a list, one alone too."""
    return [paths] if isinstance(paths, str) else list(paths)


def error_status(status: object, name: str) -> int:
    """Refuse a status that tells no error.

    Raises:
        ConfigError: Names it.
    """
    if not isinstance(status, int) or not 400 <= status < 600:  # noqa: PLR2004 - error classes
        raise ConfigError(f"{name} must be a status from 400 to 599, got {status!r}")
    return status


def caller_of(caller: Any) -> Callable[[Scope], str | None]:
    """Refuse what cannot tell who sent a request.

    Raises:
        ConfigError: It is no function, or one that is to be awaited.
    """
    if not callable(caller) or inspect.iscoroutinefunction(caller):
        raise ConfigError(
            f"caller must be a plain function of the ASGI scope, got {caller!r}; write for example "
            "caller=lambda scope: dict(scope['headers']).get(b'x-user', b'').decode()"
        )
    told: Callable[[Scope], str | None] = caller
    return told


def replayed_as(statuses: object) -> Mapping[int, int]:
    """Refuse statuses that a response with a body cannot have.

    Raises:
        ConfigError: Names it.
    """
    if not isinstance(statuses, Mapping):
        raise ConfigError(f"replay_status must be a mapping such as {{201: 200}}, got {statuses!r}")
    for status in statuses.values():
        final = isinstance(status, int) and 200 <= status < 600  # noqa: PLR2004 - and no hint
        if not final or status in BODILESS:
            raise ConfigError(
                f"replay_status must name statuses whose responses have a body, got {status!r}"
            )
    return dict(statuses)
