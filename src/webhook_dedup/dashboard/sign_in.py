"""How people come in and go: the form that takes a token, and its session."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from .auth import SESSION_COOKIE, TokenAuthenticator, warn_of_attempt
from .gate import cookie_path, set_cookie, visitor_of
from .links import asked_of, link
from .show import Show

__all__ = ["SignIn"]

_SESSION = 12 * 3600.0
_SEE_OTHER, _WRONG = 303, 401
_SAFE = "/?&=%+-._~"


class SignIn:
    """The form.

    Args:
        show: Makes its page.
        auth: Knows the tokens.
    """

    def __init__(self, show: Show, auth: TokenAuthenticator) -> None:
        self._show = show
        self._auth = auth

    @property
    def routes(self) -> list[Route]:
        """The paths to come in and to go."""
        return [
            Route("/sign-in", self.sign_in, methods=["GET", "POST"]),
            Route("/sign-out", self.sign_out, methods=["POST"]),
        ]

    async def sign_in(self, request: Request) -> Response:
        """Ask for a token, and begin a session with it."""
        back = asked_of(request).get("next", "")
        if request.method != "POST":
            return self._show.bare(request, "sign_in.html", next=back)
        cookie = self._auth.tokens.sign_in(visitor_of(request).form.get("token", ""), _SESSION)
        if cookie is None:
            warn_of_attempt(request)
            return self._show.bare(request, "sign_in.html", status=_WRONG, next=back, wrong=True)
        response = RedirectResponse(_below(request, back), _SEE_OTHER)
        set_cookie(response, request, SESSION_COOKIE, cookie, _SESSION)
        return response

    async def sign_out(self, request: Request) -> Response:
        """End the session of this browser."""
        response = RedirectResponse(link(request, "sign-in"), _SEE_OTHER)
        response.delete_cookie(SESSION_COOKIE, path=cookie_path(request), httponly=True)
        return response


def _below(request: Request, back: str) -> str:
    """Return an address of this dashboard, whatever was asked for."""
    return link(request, quote(back.lstrip("/\\"), safe=_SAFE, errors="surrogatepass"))
