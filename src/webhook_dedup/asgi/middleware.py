"""The middleware: finds the source of a request, hands it to a responder, lives with the app."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from ..contracts import Inbox, Observer, Store
from ..dedup import Dedup
from ..errors import ConfigError
from ..model import Delivery, Event
from ..policy import Policy
from ..source import Source
from .consumed_response import ConsumedResponse
from .exchange import Exchange
from .responder import respond
from .scopes import BodyOnce, accepted, root_path_of, scope_of
from .types import ASGIApp, Message, Receive, Scope, Send
from .unserved import warn_of_unserved

__all__ = ["WebhookDedup"]

logger = logging.getLogger("webhook_dedup")


class WebhookDedup:
    """ASGI middleware that runs each webhook event once, behind a fast acknowledgement.

    Add it last, so that it is outermost::

        app.add_middleware(
            WebhookDedup,
            store="sqlite:///webhooks.db",
            sources=[Source("stripe", path="/webhooks/stripe", secret=SECRET)],
        )

    Requests that no source matches pass through untouched.

    Args:
        app: The app that handles events.
        store: A store or its URL; see :func:`webhook_dedup.stores.open_store`.
        sources: The senders to listen to.
        inbox: Where accepted deliveries live; beside the store by default.
        observers: Take every record, beside the log.
        policy: In force where a source has none of its own.
        work: ``False`` accepts events and leaves their handlers to ``webhook-dedup work``.
        dedup: A :class:`Dedup` of your own in place of all of these.

    Raises:
        ConfigError: Something does not fit; the message says what to write instead.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        store: Store | str | None = None,
        sources: Iterable[Source] = (),
        inbox: Inbox | None = None,
        observers: Iterable[Observer] = (),
        policy: Policy | None = None,
        work: bool = True,
        dedup: Dedup | None = None,
    ) -> None:
        if dedup is None and store is not None:
            dedup = Dedup(
                store,
                sources=sources,
                inbox=inbox,
                observers=observers,
                policy=policy,
                work=work,
            )
        elif dedup is None or store is not None:
            raise ConfigError("give WebhookDedup either store=… and sources=…, or dedup=…")
        elif sources or inbox is not None or observers or policy is not None or not work:
            raise ConfigError(
                "dedup=… has its own sources, inbox, observers, policy and work; give these to "
                "Dedup(…)"
            )
        self.app = app
        self.dedup = dedup
        self._root_path = root_path_of(app)
        self._outer_app: Any = None
        self._warns_of_late_start = True
        if dedup.bound:
            logger.warning(
                "this Dedup was given to another WebhookDedup before, whose deliveries run in the "
                "app of this one from now on; give each app a Dedup of its own"
            )
        dedup.bind(self._perform)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if self._root_path:
                scope = {**scope, "root_path": self._root_path}
            route = self.dedup.routes.find(scope)
            # A second middleware would take the first one's run for a copy, and keep it out.
            if route is None or accepted(scope, route.source.name):
                return await self.app(scope, receive, send)
            self._outer_app = scope.get("app", self._outer_app)
            if self._warns_of_late_start and not self.dedup.running:
                self._warn_of_late_start()
            run = await respond(Exchange(self.dedup, self.app, route, scope, receive, send))
            if run is not None:
                # So that servers drain it and test clients see it; a cancellation stops here.
                await run
            return None
        if scope["type"] == "lifespan":
            return await self._lifespan(scope, receive, send)
        return await self.app(scope, receive, send)

    async def _perform(self, delivery: Delivery, event: Event) -> int:
        """Run the app for a delivery that was acknowledged, and return its status."""
        scope = scope_of(delivery, event, self._outer_app, self.dedup.state)
        response = ConsumedResponse()
        await self.app(scope, BodyOnce(delivery.body), response)
        return response.outcome()

    def _warn_of_late_start(self) -> None:
        self._warns_of_late_start = False
        logger.warning(
            "WebhookDedup sees no lifespan and starts with the first request; nothing will "
            "drain it. Put 'async with dedup:' into the lifespan of the outermost app"
        )

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start before the app does, drain before it stops."""
        self._warns_of_late_start = False
        self._outer_app = scope.get("app")
        lifespan = _Lifespan(self.dedup, self._outer_app or self.app, receive, send)
        try:
            await lifespan.start()
            scope_state = scope.get("state")
            if scope_state is not None:
                self.dedup.state = scope_state
            await self._run_lifespan(scope, lifespan)
        finally:
            await self.dedup.stop()

    async def _run_lifespan(self, scope: Scope, lifespan: _Lifespan) -> None:
        try:
            await self.app(scope, lifespan.receive, lifespan.send)
        except Exception:
            if lifespan.answered:
                raise
            # The app knows no lifespan. This middleware does, so the server must not give up.
            logger.debug("the app does not support lifespan", exc_info=True)
        if not lifespan.answered:
            await lifespan.stand_in()


class _Lifespan:
    """The lifespan channel between the server and the app, with this middleware in between."""

    def __init__(self, dedup: Dedup, app: Any, receive: Receive, send: Send) -> None:
        self._dedup = dedup
        self._app = app
        self._receive = receive
        self._send = send
        self._startup: Message | None = None
        self.answered = False

    async def start(self) -> None:
        self._startup = await self._receive()
        try:
            await self._dedup.start()
        except Exception as exc:
            await self._send({"type": "lifespan.startup.failed", "message": str(exc)})
            raise

    async def receive(self) -> Message:
        if self._startup is not None:
            message, self._startup = self._startup, None
            return message
        message = await self._receive()
        if message["type"] == "lifespan.shutdown":
            await self._dedup.stop()
        return message

    async def send(self, message: Message) -> None:
        self.answered = True
        if message["type"] == "lifespan.startup.complete":  # an app may add routes until then
            warn_of_unserved(self._app, self._dedup.sources)
        await self._send(message)

    async def stand_in(self) -> None:
        """Speak the protocol for an app that does not."""
        await self._send({"type": "lifespan.startup.complete"})
        await self._receive()
        await self._dedup.stop()
        await self._send({"type": "lifespan.shutdown.complete"})
