"""One request with a key, from its first byte to its answer."""

from __future__ import annotations

from dataclasses import dataclass

from ..asgi.responses import replay
from ..asgi.scopes import BodyOnce, ClientLeft, read_body
from ..asgi.types import ASGIApp, Message, Receive, Scope, Send
from ..errors import IdempotencyMismatch, InProgress, RejectedDelivery, StoreError
from ..keys import joined
from ..model import Claim, Event, Key
from ..operation import Operation
from ..portal import shared
from ..providers import Parsed
from .key import body_key, fingerprint, header_key
from .keyed_run import KeyedRun
from .options import Options
from .problem import Problem, caller_unknown, no_response_kept, store_away, unusable
from .waiting import claim_or_wait

__all__ = ["KeyedRequest"]

LONGEST_RETRY = 5.0  # most requests end long before their lease
_HELD = "webhook_dedup.idempotency"


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """One request that is guarded.

    Attributes:
        options: Those of the middleware.
        app: The app behind it.
        scope, receive, send: The request.
    """

    options: Options
    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send

    async def answer(self) -> None:
        """Handle the request, replay its first response, or say what is wrong with it."""
        try:
            await self._answer()
        except Problem as problem:
            await problem.answer(self.send, self.options.docs)
        except RejectedDelivery as exc:
            await unusable(exc).answer(self.send, self.options.docs)
        except ClientLeft:
            return

    async def _answer(self) -> None:
        key = header_key(self.scope["headers"], self.options.header)
        if key is None and self.options.client_id is None:
            return await self._without_key(self.receive)
        body = await read_body(self.receive, self.scope["headers"], self.options.max_body)
        key = key or self._client_id(body)
        if key is None:
            return await self._without_key(BodyOnce(body, self.receive))
        event = self._event(key, body)
        if event.key in self._held:  # by a middleware around this one, which does its work
            return await self.app(self.scope, BodyOnce(body, self.receive), self.send)
        return await self._run_or_replay(await self._operation(event), body)

    @property
    def _held(self) -> frozenset[Key]:
        held: frozenset[Key] = self.scope.get(_HELD, frozenset())
        return held

    async def _without_key(self, receive: Receive) -> None:
        if self.options.required(self.scope):
            raise Problem(
                self.options.missing_status,
                "key_missing",
                "Idempotency-Key is missing",
                f"This operation needs {self._where()}; send the same one with every retry.",
            )
        await self.app(self.scope, receive, self.send)

    def _where(self) -> str:
        header = f"the header {self.options.header.decode().title()}"
        return header if self.options.client_id is None else f"{header} or a client id in its body"

    def _client_id(self, body: bytes) -> str | None:
        if self.options.client_id is None:
            return None
        parsed = Parsed(
            self.scope["headers"], body, method=self.scope["method"], most=self.options.max_body
        )
        try:
            found = self.options.client_id(parsed)
        except RejectedDelivery as exc:
            if exc.code == "malformed_json":  # it has no id, and what it is the app may know
                return None
            raise
        return None if found is None else body_key(found)

    def _event(self, key: str, body: bytes) -> Event:
        caller = self.options.caller(self.scope)
        if caller is None or not caller.strip():
            raise caller_unknown()
        method, path = self.scope["method"].upper(), self.scope["path"]
        return Event(
            key=Key(self.options.scope, joined([method, path, key]), caller),
            source=self.options.scope,
            id=key,
            type=f"{method} {path}",
            fingerprint=fingerprint(self.scope, body),
        )

    async def _operation(self, event: Event) -> Operation:
        try:
            dedup = await shared(self.options.store)
        except StoreError as exc:
            raise store_away() from exc
        return Operation(dedup, event, self.options.lease, self.options.ttl)

    async def _run_or_replay(self, operation: Operation, body: bytes) -> None:
        claim, sent = await self._claim(operation)
        if claim.fresh:
            await self._run(operation, claim, body, sent)
        elif claim.result is None:
            raise no_response_kept()
        else:
            await replay(self._as_replayed, claim.result)

    async def _run(self, operation: Operation, claim: Claim, body: bytes, sent: float) -> None:
        held = self._held
        # Not in a copy: middlewares around this one look into theirs for the route, afterwards.
        self.scope[_HELD] = held | {operation.event.key}
        try:
            docs = self.options.docs
            keyed = KeyedRun(operation, claim, self.scope, self.receive, self.send, docs)
            await keyed.run(self.app, body, sent)
        finally:
            self.scope[_HELD] = held

    async def _claim(self, operation: Operation) -> tuple[Claim, float]:
        try:
            return await claim_or_wait(operation, self.options.wait)
        except StoreError as exc:
            raise store_away() from exc
        except IdempotencyMismatch as exc:
            raise Problem(
                self.options.mismatch_status,
                "key_reused",
                "Idempotency-Key is already used",
                "This key came before with another request; give each request a key of its own.",
            ) from exc
        except InProgress as exc:
            raise Problem(
                self.options.in_progress_status,
                "in_progress",
                "A request is outstanding for this Idempotency-Key",
                "The first request with this key is still being handled; send it again later.",
                retry_after=min(exc.retry_after, LONGEST_RETRY),
            ) from exc

    async def _as_replayed(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            message = {**message, "status": self.options.replay_status.get(status, status)}
        await self.send(message)
