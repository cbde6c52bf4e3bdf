"""``IdempotencyMiddleware``: requests of one key get the first response."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ..asgi.scopes import root_path_of
from ..asgi.types import ASGIApp, Receive, Scope, Send
from ..contracts import Store, need
from ..dedup import Dedup
from ..model import Remembers
from ..policy import DEFAULT_TTL, Duration, check_count, methods_of, seconds
from ..providers import Expression
from ..providers.extract import compile_reader
from .key import credentials
from .keyed_request import KeyedRequest
from .options import (
    Options,
    below,
    caller_of,
    error_status,
    everywhere,
    replayed_as,
    required_of,
    roots_of,
)

__all__ = ["IdempotencyMiddleware"]

DRAFT = "https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header-07"


class IdempotencyMiddleware:
    """ASGI middleware that answers the retries of a request with the first response.

    It follows draft-ietf-httpapi-idempotency-key-header-07. ::

        app.add_middleware(
            IdempotencyMiddleware, store="redis://localhost", paths=["/orders"], required=True
        )

    - First request of a key: it is handled, and when the app has returned, or a second after its
      last message, the response is stored before its end is sent. Success and errors alike are
      stored, but not 409, 425, 429 and 5xx: these free the key, as does an exception, also one
      within that second.
    - Later requests: the stored response with ``Idempotent-Replayed: true``, without ``Set-Cookie``
      and ``Date``.
    - While the first one runs: 409 with ``Retry-After``, or with ``wait`` the first response as
      soon as it is there.
    - The same key with another payload or query: 422. JSON is compared by what it says, not by how
      it is written.
    - Responses are stored up to 64 KiB. Larger ones go out as they come; the key is done then, and
      later requests are told so with a 409.
    - While the store is away: 503 with ``Retry-After``, and nothing is handled.

    Keys of different methods, paths and callers never meet. Requests without a key pass through
    untouched, unless one is required.

    Args:
        app: The app.
        store: A store that keeps results, its URL, or a :class:`Dedup`.
        methods: What is idempotent only by a key.
        paths: Guard these and what is below them; everything unless given.
        required: Answer requests without a key with 400: all that are guarded, or those of the
            paths that are listed.
        header: Name of the header.
        client_id: Where the key is in requests without the header: a JMESPath into the JSON body,
            ``"form:field"``, ``"header:Name"`` or a function of the parsed request. Null is no key,
            and blank text is refused with 400.
        caller: Tells who sent a request; ``None`` for one who cannot be told is answered with 400,
            because another's response might be his. By default all of Authorization and Cookie
            together, so that a cookie which changes between tries makes the retry a new caller's
            first request. Give one where callers show themselves otherwise, where tokens or cookies
            are renewed between retries, or, as ``lambda scope: "all"``, where there is only one.
            It stands in keys and, as the tenant, in records and the log: digest what is secret.
        wait: Seconds to wait for a first request that is still running.
        lease: Seconds after which a process that fell silent is taken for dead.
        ttl: How long responses are kept, 48 hours unless given. Publish it to your clients.
        max_body: Largest body of a request with a key, in bytes; 413 beyond. With ``client_id`` it
            holds for all guarded requests, since any of them may have a key in its body.
        missing_status: In place of 400.
        in_progress_status: In place of 409.
        mismatch_status: In place of 422.
        replay_status: Statuses by what they become in a replay: ``{201: 200}``.
        docs: Documentation that problems link to.
        scope: Keeps the keys of several apps in one store apart.

    Raises:
        ConfigError: Something does not fit; the message says what to write instead.
        MissingPower: The store keeps no results or fingerprints.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        store: Dedup | Store | str,
        methods: Iterable[str] = ("POST", "PATCH"),
        paths: Iterable[str] | None = None,
        required: bool | Iterable[str] = False,
        header: str = "Idempotency-Key",
        client_id: Expression | None = None,
        caller: Callable[[Scope], str | None] = credentials,
        wait: Duration = 0.0,
        lease: Duration = 30.0,
        ttl: Duration = DEFAULT_TTL,
        max_body: int = 1 << 20,
        missing_status: int = 400,
        in_progress_status: int = 409,
        mismatch_status: int = 422,
        replay_status: Mapping[int, int] | None = None,
        docs: str = DRAFT,
        scope: str = "idempotency",
    ) -> None:
        dedup = store if isinstance(store, Dedup) else Dedup(store)
        need(dedup.store, Remembers.RESULT | Remembers.FINGERPRINT, "IdempotencyMiddleware")
        check_count(max_body, "max_body")
        self.app = app
        self._root_path = root_path_of(app)
        roots = ["/"] if paths is None else roots_of(paths)
        self._methods = methods_of(methods, "IdempotencyMiddleware")
        self._guarded = everywhere(True) if paths is None else below(roots)
        self._options = Options(
            store=store,
            scope=scope,
            header=header.lower().encode(),
            client_id=None if client_id is None else compile_reader(client_id),
            caller=caller_of(caller),
            required=required_of(required, roots),
            wait=seconds(wait, "wait", zero=True),
            lease=seconds(lease, "lease"),
            ttl=seconds(ttl, "ttl"),
            max_body=max_body,
            missing_status=error_status(missing_status, "missing_status"),
            in_progress_status=error_status(in_progress_status, "in_progress_status"),
            mismatch_status=error_status(mismatch_status, "mismatch_status"),
            replay_status=replayed_as(replay_status or {}),
            docs=docs,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._root_path and scope["type"] == "http":
            scope = {**scope, "root_path": self._root_path}
        if scope["type"] != "http" or not self._guards(scope):
            return await self.app(scope, receive, send)
        return await KeyedRequest(self._options, self.app, scope, receive, send).answer()

    def _guards(self, scope: Scope) -> bool:
        # In capitals, as servers pass on "post", and apps may take it for POST.
        return scope["method"].upper() in self._methods and self._guarded(scope)
