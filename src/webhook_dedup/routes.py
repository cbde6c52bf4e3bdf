"""Which source a request belongs to, and the policy in force for it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from .batch import batch_of, without_repeats
from .errors import ConfigError, RejectedDelivery
from .identify import data_of
from .model import Delivery, Event
from .policy import DEFAULT_TTL, Policy
from .providers import Parsed, Preset
from .providers.encodings import MOST_UNPACKED
from .source import Source
from .urls import route_path, url_of

__all__ = ["TTL_MARGIN", "Route", "Routes", "ttl_for"]

Reasoned = tuple[str, str]

TTL_MARGIN = 1.25
"""How many times as long as its provider retries an event is remembered."""


@dataclass(frozen=True, slots=True)
class Route:
    """A source together with the policy in force for it.

    Attributes:
        source: The source.
        policy: Its own policy, or the one given to the middleware.
        ttl: Seconds its events are remembered.
        max_body: Largest body accepted, in bytes, packed and unpacked.
    """

    source: Source
    policy: Policy
    ttl: float
    max_body: int

    def parse(self, delivery: Delivery, most: int | None = None) -> Parsed:
        """Return a delivery as schemes and extractors see it."""
        return Parsed(
            delivery.headers,
            delivery.body,
            method=delivery.method,
            url=partial(url_of, delivery, self.source.public_url),
            query=delivery.query_string,
            most=most or self.max_body,
        )

    def _reread(self, delivery: Delivery) -> Parsed:
        """Parse what was accepted, perhaps when larger bodies were."""
        return self.parse(delivery, max(self.max_body, MOST_UNPACKED))

    def identify(self, parsed: Parsed, delivery: Delivery) -> Event:
        """Say which event a verified delivery announces.

        Raises:
            RejectedDelivery: It is refused.
        """
        tenant = self.tenant_of(delivery)
        return self.source.identifier.identify(parsed, delivery, tenant, self.policy)

    def read(self, delivery: Delivery) -> Event:
        """Identify a delivery that was accepted before.

        Raises:
            RejectedDelivery: No event is found in it any more.
        """
        event, _ = without_repeats(self.identify(self._reread(delivery), delivery))
        if not self.source.batched:
            return event
        sifted, _ = self.sift(event)
        if sifted is None or not sifted.items:
            raise RejectedDelivery(400, "empty_batch", "there are no items in the delivery")
        return sifted

    def sift(self, event: Event) -> tuple[Event | None, Sequence[tuple[Event, Reasoned]]]:
        """Take out what pure guards skip.

        Returns:
            What is left, ``None`` if nothing is; and what was taken out, with reason and sentence.
        """
        guards, delivery = self.source.guards, event.delivery
        if not guards.pure or delivery is None:
            return event, ()
        if not self.source.batched:
            skip = guards.skips(event, self.data(delivery))
            return (event, ()) if skip is None else (None, [(event, skip)])
        judged = [(item, guards.skips(item.event, item.value)) for item in event.items]
        skips = [(item.event, skip) for item, skip in judged if skip is not None]
        kept = [item for item, skip in judged if skip is None]
        if not skips:
            return event, ()
        return (batch_of(kept, delivery) if kept else None), skips

    def data(self, delivery: Delivery) -> Any:
        """Return the JSON of a delivery, or the fields of its form."""
        return data_of(self._reread(delivery))

    def narrow(self, delivery: Delivery, event: Event) -> Delivery:
        """Return a delivery as the handler of an event gets it."""
        if self.source.narrow is None:
            return delivery
        return self.source.narrow(self._reread(delivery), delivery, event)

    def tenant_of(self, delivery: Delivery) -> str:
        """Return the tenant that the path of a delivery names."""
        if "tenant" not in self.source.pattern.groupindex:
            return ""
        path = route_path({"path": delivery.path, "root_path": delivery.root_path})
        match = self.source.pattern.fullmatch(path)
        return match["tenant"] if match else ""

    def late(self, event: Event) -> bool:
        """Whether an event, or one of a batch, is older than events are remembered.

        Its first copy may be forgotten.
        """
        if event.items:
            return any(self.late(item.event) for item in event.items)
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
        self._patterns: list[tuple[frozenset[str], Route]] = []
        for source in _checked(sources):
            self._add(_route(source, source.policy or policy))

    def _add(self, route: Route) -> None:
        source = route.source
        if source.name in self.by_name:
            raise ConfigError(f"two sources are named {source.name!r}; give one another name=…")
        self.by_name[source.name] = route
        handshake = source.handshake
        methods = source.methods | (handshake.methods if handshake else frozenset())
        for method in methods:
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
            self._patterns.append((methods, route))

    def find(self, scope: Mapping[str, Any]) -> Route | None:
        """Return the route of an HTTP scope, or ``None`` when no source matches."""
        path = route_path(scope)
        method = scope["method"].upper()  # servers pass on "post", and apps may take it for POST
        route = self._exact.get((method, path.removesuffix("\n")))
        if route is None:
            for methods, candidate in self._patterns:
                if method in methods and candidate.source.pattern.fullmatch(path):
                    return candidate
        return route


def _checked(sources: object) -> Sequence[Source]:
    given = tuple(sources) if isinstance(sources, Iterable) else (None,)
    if not all(isinstance(each, Source) for each in given):
        raise ConfigError(
            "sources must be a list such as [Source('stripe', path='/webhooks/stripe', secret=…)], "
            f"got {sources!r}"
        )
    return given


def _route(source: Source, policy: Policy) -> Route:
    _check_answerable(source, policy)
    source.guards.must_fit(policy.handler_timeout)
    max_body = max(policy.max_body, source.preset.max_body or 0)
    return Route(source, policy, ttl_for(source.preset, policy.ttl), max_body)


def ttl_for(preset: Preset, chosen: float | None) -> float:
    """Return for how long events are remembered: as chosen, or beyond all retries."""
    return chosen or max(DEFAULT_TTL, preset.horizon * TTL_MARGIN, preset.remember)


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
