"""Puts the dashboard together."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from ..admin.text import inert
from ..dedup import Dedup
from ..errors import ConfigError, StoreError
from ..observe.history import History
from ..urls import route_path
from .actions import Actions
from .auth import Auth, Authenticator, TokenAuthenticator, authenticator_of, bearer_of
from .deployment import DedupDeployment, Deployment
from .gate import EXIT, Gate, Refused
from .live import Stream
from .pages import Pages
from .show import Show
from .sign_in import SignIn

__all__ = ["dashboard", "pages_of"]

_NOT_SIGNED_IN, _NOT_FOUND, _AWAY = 401, 404, 503


def dashboard(
    dedup: Dedup,
    *,
    auth: Auth | None = None,
    history: History | None = None,
    mask_headers: Iterable[str] = (),
) -> ASGIApp:
    """Return an ASGI app that shows what happens to deliveries, and lets people act.

    Mount it anywhere::

        app.mount("/webhook-dedup", dashboard(dedup, auth=Tokens(admin=…, viewer=…)))

    Args:
        dedup: What is behind the middleware; build it yourself and give it to both.
        auth: Who comes in: a token for admins, :class:`Tokens`, a function of the request that
            returns ``"admin"``, ``"viewer"`` or ``None``, or :class:`Loopback`.
        history: Where it looks things up, in place of the ``History`` among the observers.
        mask_headers: Names of headers whose values are not shown, beside those that look secret.

    Raises:
        ConfigError: There is no ``auth``, or it cannot work.
    """
    if not isinstance(dedup, Dedup):
        raise ConfigError(f"a dashboard shows a Dedup, got {dedup!r}")
    return pages_of(DedupDeployment(dedup, history), authenticator_of(auth), mask_headers)


def pages_of(
    deployment: Deployment, auth: Authenticator, mask_headers: Iterable[str] = ()
) -> ASGIApp:
    """Return the ASGI app that shows a deployment to those who are let in."""
    show = Show(deployment, signs_in=auth.signs_in)

    async def refuse(request: Request, refusal: Exception) -> Response:
        return await _refuse(show, request, refusal)

    app = Starlette(
        routes=_routes(show, auth, mask_headers),
        exception_handlers={
            Refused: refuse,
            HTTPException: refuse,
            StoreError: refuse,
        },
    )
    return Gate(app, auth, refuse)


def _routes(show: Show, auth: Authenticator, mask_headers: Iterable[str]) -> list[BaseRoute]:
    masked = frozenset(name.lower() for name in mask_headers)
    sign_in = SignIn(show, auth).routes if isinstance(auth, TokenAuthenticator) else ()
    return [
        *Pages(show, masked).routes,
        *Actions(show).routes,
        *sign_in,
        Route("/stream", Stream(show).answer, methods=["GET"]),
        Mount("/static", StaticFiles(packages=[(__package__ or "", "static")])),
    ]


async def _refuse(show: Show, request: Request, refusal: Exception) -> Response:
    """Say why a request goes no further: to people on a page, to programs in a line."""
    status, detail = _told(refusal)
    if bearer_of(request) is not None:
        return PlainTextResponse(f"{inert(detail)}\n", status)
    if status == _NOT_SIGNED_IN:
        return show.bare(
            request, "sign_in.html", status=status, next=_address(request), **_once_more(request)
        )
    return show.bare(request, "refused.html", status=status, detail=detail)


def _once_more(request: Request) -> dict[str, bool]:
    """Have a page asked for again that was asked for by a link on another site.

    Then browsers hold back the cookie of the session, and send it the second time.
    """
    elsewhere = request.headers.get("sec-fetch-site") == "cross-site" and request.method == "GET"
    return {"from_elsewhere": True} if elsewhere else {}


def _address(request: Request) -> str:
    """Return the address of a request, below the dashboard; empty if no page is there."""
    if route_path(request.scope) == EXIT:
        return ""
    query = request.scope.get("query_string", b"").decode("latin-1")
    return f"{route_path(request.scope)}{'?' if query else ''}{query}"


def _told(refusal: Exception) -> tuple[int, str]:
    if isinstance(refusal, Refused):
        return refusal.status, refusal.detail
    if isinstance(refusal, HTTPException):
        missing = refusal.status_code == _NOT_FOUND
        return refusal.status_code, "there is no such page" if missing else refusal.detail
    return _AWAY, f"the store does not answer: {refusal}"
