"""The checks before every page: who is there, may he do that, and does he mean it."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, quote

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..urls import route_path
from .auth import SESSION_COOKIE, Authenticator, Role, bearer_of
from .links import asked_of
from .sessions import csrf_token

__all__ = ["EXIT", "Gate", "Refused", "Visitor", "cookie_path", "set_cookie", "visitor_of"]

_ASSETS, _ENTRANCE, EXIT = "/static/", "/sign-in", "/sign-out"
_VISIT_COOKIE = "webhook_dedup_visit"
_VISITOR = "webhook_dedup.visitor"
_LARGEST_FORM = 16_384
_BAD_REQUEST, _NOT_SIGNED_IN, _FORBIDDEN, _TOO_LARGE, _NOT_ALLOWED = 400, 401, 403, 413, 405

_HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    # With no-referrer browsers would send forms with "Origin: null".
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Refused(Exception):
    """A request goes no further.

    Attributes:
        status: HTTP status.
        detail: One sentence for people.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who sent a request.

    Attributes:
        role: What he may do; ``None`` on pages for everybody.
        csrf: What his forms must bring along.
        name: For records of what he does.
        form: What his form says.
    """

    role: Role | None
    csrf: str
    name: str
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def may_act(self) -> bool:
        """Whether he may do more than look."""
        return self.role is Role.ADMIN

    def must_act(self) -> None:
        """Refuse whoever may only look.

        Raises:
            Refused: He may.
        """
        if not self.may_act:
            raise Refused(_FORBIDDEN, "you may look, but not act: that takes an admin's token")


def visitor_of(request: Request) -> Visitor:
    """Return who sent a request that passed the gate."""
    visitor: Visitor = request.scope[_VISITOR]
    return visitor


def cookie_path(request: Request) -> str:
    """Return the path that cookies of the dashboard are for."""
    return f"{quote(request.scope.get('root_path', ''))}/"


class Gate:
    """Lets requests through to the pages.

    Args:
        app: The pages.
        auth: Decides who comes in.
        refuse: Makes the response to who does not.
    """

    def __init__(
        self,
        app: ASGIApp,
        auth: Authenticator,
        refuse: Callable[[Request, Refused], Awaitable[Response]],
    ) -> None:
        self._app = app
        self._auth = auth
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request = Request(scope, receive)
        visit = request.cookies.get(_VISIT_COOKIE) or secrets.token_hex(16)
        answer = _Answer(request, visit, send)
        csrf = csrf_token(visit, request.cookies.get(SESSION_COOKIE, ""))
        scope[_VISITOR] = Visitor(None, csrf, _name(request, None))
        try:
            scope[_VISITOR] = await self._admit(request, csrf)
        except Refused as refusal:
            response = await self._refuse(request, refusal)
            return await response(scope, receive, answer)
        return await self._app(scope, receive, answer)

    async def _admit(self, request: Request, csrf: str) -> Visitor:
        """Say who sent a request that may go on.

        Raises:
            Refused: It may not.
        """
        _check_readable(request)
        path = route_path(request.scope)
        public = path.startswith(_ASSETS) or (path == _ENTRANCE and self._auth.signs_in)
        role = None if public else await self._auth.role_of(request)
        if role is None and not public:
            raise Refused(_NOT_SIGNED_IN if self._auth.signs_in else _FORBIDDEN, self._auth.refusal)
        visitor = Visitor(role, csrf, _name(request, role))
        if request.method in {"GET", "HEAD"}:
            return visitor
        if request.method != "POST":
            raise Refused(_NOT_ALLOWED, "pages take GET and POST")
        if path not in {_ENTRANCE, EXIT}:
            visitor.must_act()
        form = await _form(request)
        if not self._bears_token(request):
            _check_meant(request, form, csrf)
        return replace(visitor, form=form)

    def _bears_token(self, request: Request) -> bool:
        """Whether it comes from a program: no browser adds such a header by itself."""
        return self._auth.signs_in and bearer_of(request) is not None


class _Answer:
    """Sends on with the headers that every response bears."""

    def __init__(self, request: Request, visit: str, send: Send) -> None:
        self._request = request
        self._visit = visit
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if "etag" in headers:  # an asset, whose address tells its version
                headers["Cache-Control"] = "public, max-age=31536000, immutable"
            elif not self._request.cookies.get(_VISIT_COOKIE):
                headers.append("Set-Cookie", self._cookie())
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)

    def _cookie(self) -> str:
        response = Response()
        set_cookie(response, self._request, _VISIT_COOKIE, self._visit)
        return response.headers["Set-Cookie"]


def set_cookie(
    response: Response, request: Request, name: str, value: str, lifetime: float | None = None
) -> None:
    """Set a cookie that scripts do not see and other sites do not send."""
    response.set_cookie(
        name,
        value,
        max_age=None if lifetime is None else int(lifetime),
        path=cookie_path(request),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def _check_readable(request: Request) -> None:
    """Refuse an address that no page could read.

    Raises:
        Refused: It is one.
    """
    try:
        asked_of(request)
    except ValueError as exc:
        raise Refused(_BAD_REQUEST, "this address is damaged") from exc


async def _form(request: Request) -> dict[str, str]:
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _LARGEST_FORM:
                raise Refused(_TOO_LARGE, "the form is too large")
    except ClientDisconnect as exc:
        raise Refused(_BAD_REQUEST, "the form did not come whole") from exc
    return dict(parse_qsl(body.decode("latin-1"), keep_blank_values=True))


def _check_meant(request: Request, form: Mapping[str, str], csrf: str) -> None:
    """Refuse a form that another site may have sent in the visitor's name.

    Raises:
        Refused: It does not come from a page of the dashboard.
    """
    given = form.get("csrf", "").encode()
    if not _same_origin(request):
        raise Refused(
            _FORBIDDEN,
            "the form came from another site; behind a proxy, have it pass on the Host header",
        )
    if not hmac.compare_digest(given, csrf.encode()):
        raise Refused(_FORBIDDEN, "the form is too old or not yours; go back, reload, try again")


def _same_origin(request: Request) -> bool:
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    # Schemes may differ behind a proxy. Whoever sends no Origin is no browser of these days.
    return origin is None or origin in {f"http://{host}", f"https://{host}"}


def _name(request: Request, role: Role | None) -> str:
    client = request.client.host if request.client else "an unknown address"
    return f"{role.value if role else 'nobody'} at {client}"
