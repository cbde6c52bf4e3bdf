"""Which source a request belongs to, and the policy in force for it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ConfigError
from .model import Delivery, Event
from .policy import DEFAULT_TTL, Policy
from .providers import Parsed
from .source import Source

__all__ = ["Route", "Routes"]

_TTL_MARGIN = 1.25


@dataclass(frozen=True, slots=True)
class Route:
    """A source together with the policy in force for it.

    Attributes:
        source: The source.
        policy: Its own policy, or the one given to the middleware.
        ttl: Seconds its events are remembered.
        max_body: Largest body accepted, in bytes.
    """

    source: Source
    policy: Policy
    ttl: float
    max_body: int

    def read(self, delivery: Delivery, *, now: float | None = None) -> Event:
        """Verify (where ``now`` is given) and identify a delivery.

        Raises:
            RejectedDelivery: It is refused.
        """
        parsed = Parsed(delivery.headers, delivery.body, method=delivery.method)
        if now is not None:
            self.source.verify(parsed, now)
        return self.source.identify(parsed, delivery, self.tenant_of(delivery), self.policy)

    def tenant_of(self, delivery: Delivery) -> str:
        """Return the tenant that the path of a delivery names."""
        path = route_path({"path": delivery.path, "root_path": delivery.root_path})
        match = self.source.pattern.fullmatch(path)
        return match.groupdict().get("tenant", "") if match else ""

    def late(self, event: Event) -> bool:
        """Whether an event is older than events are remembered: its first copy may be forgotten."""
        return event.occurred_at is not None and event.occurred_at < time.time() - self.ttl


class Routes:
    """Finds the source a request belongs to.

    Args:
        sources: All sources of one middleware.
        policy: In force where a source has none of its own.

    Raises:
        ConfigError: Two sources share a name, or a path and a method.
    """

    def __init__(self, sources: Iterable[Source], policy: Policy) -> None:
        self.by_name: dict[str, Route] = {}
        self._shapes: dict[tuple[str, str], Source] = {}
        self._exact: dict[tuple[str, str], Route] = {}
        self._patterns: list[Route] = []
        for source in sources:
            self._add(_route(source, source.policy or policy))

    def _add(self, route: Route) -> None:
        source = route.source
        if source.name in self.by_name:
            raise ConfigError(f"two sources are named {source.name!r}; give one another name=…")
        self.by_name[source.name] = route
        for method in source.methods:
            shape = (method, source.shape)
            other = self._shapes.setdefault(shape, source)
            if other is not source:
                raise ConfigError(
                    f"sources {other.name!r} and {source.name!r} share {source.path!r}; "
                    "give each a path of its own"
                )
            if not source.pattern.groups:
                self._exact[method, source.path] = route
        if source.pattern.groups:
            self._patterns.append(route)

    def find(self, scope: Mapping[str, Any]) -> Route | None:
        """Return the route of an HTTP scope, or ``None`` when no source matches."""
        path = route_path(scope)
        method = scope["method"]
        route = self._exact.get((method, path))
        if route is None:
            for candidate in self._patterns:
                source = candidate.source
                if method in source.methods and source.pattern.fullmatch(path):
                    return candidate
        return route


def route_path(scope: Mapping[str, Any]) -> str:
    """Return the path of an HTTP scope below its ``root_path``."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :]
    return path


def _route(source: Source, policy: Policy) -> Route:
    _check_answerable(source, policy)
    preset = source.preset
    ttl = policy.ttl or max(DEFAULT_TTL, preset.horizon * _TTL_MARGIN, preset.remember)
    return Route(source, policy, ttl, max(policy.max_body, preset.max_body or 0))


def _check_answerable(source: Source, policy: Policy) -> None:
    """Refuse policies that would answer by what the store says, when the 200 is sent before."""
    if source.ack != "first":
        return
    for name in ("on_mismatch", "on_store_error"):
        if getattr(policy, name) == "reject":
            raise ConfigError(
                f"{name}='reject' cannot work for source {source.name!r} with ack='first', which "
                "acknowledges before it asks the store; write ack='claimed' or ack='handled'"
            )
