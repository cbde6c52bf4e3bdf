"""Who may look, and who may act."""

from __future__ import annotations

import enum
import hmac
import inspect
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from starlette.requests import Request

from ..errors import ConfigError
from .sessions import Session, opened, sealed

__all__ = [
    "SESSION_COOKIE",
    "Auth",
    "Authenticator",
    "Loopback",
    "Role",
    "TokenAuthenticator",
    "Tokens",
    "authenticator_of",
    "bearer_of",
    "is_loopback",
    "warn_of_attempt",
]

SESSION_COOKIE = "webhook_dedup_session"
logger = logging.getLogger("webhook_dedup")
_SHORTEST_TOKEN = 16
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_PASSED_ON = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


class Role(str, enum.Enum):
    """What a visitor may do."""

    VIEWER = "viewer"
    """Look at every page."""
    ADMIN = "admin"
    """Look, replay, bury and forget."""


Told = Role | str | None
Asked = Callable[[Request], "Told | Awaitable[Told]"]


class Authenticator(Protocol):
    """Decides who comes in."""

    signs_in: bool
    """Whether people come in by the form that asks for a token."""
    refusal: str
    """What is said to those who do not."""

    async def role_of(self, request: Request) -> Role | None:
        """Return what the sender of a request may do; ``None`` if he may not even look."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Secrets that open the dashboard, in its form or as ``Authorization: Bearer``.

    Attributes:
        admin: Opens it for looking and acting.
        viewer: Opens it for looking only.

    Raises:
        ConfigError: There is none, both are the same, or one is too short to be a secret.
    """

    admin: str | None = field(default=None, repr=False)
    viewer: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        given = [token for _, token in self._each()]
        if not given:
            raise ConfigError("Tokens(admin=…, viewer=…) needs at least one of them")
        if any(len(token) < _SHORTEST_TOKEN for token in given):
            raise ConfigError(
                f"a token of the dashboard needs {_SHORTEST_TOKEN} characters or more; make one "
                "with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
            )
        if self.admin == self.viewer:
            raise ConfigError("the tokens of admin and viewer must not be the same")

    def role(self, token: str) -> Role | None:
        """Return the role that a token opens."""
        found = None
        for role, known in self._each():  # all of them, so that the time taken tells nothing
            if hmac.compare_digest(token.encode("utf-8", "replace"), known.encode()):
                found = role
        return found

    def sign_in(self, token: str, lifetime: float) -> str | None:
        """Return the cookie of a new session; ``None`` for a token that opens nothing."""
        role = self.role(token)
        return None if role is None else sealed(role.value, token, lifetime)

    def session(self, cookie: str) -> Session | None:
        """Return the session of a cookie, if its token still opens something."""
        for role, known in self._each():
            session = opened(cookie, known)
            if session is not None and session.role == role.value:
                return session
        return None

    def _each(self) -> Iterator[tuple[Role, str]]:
        if self.admin is not None:
            yield Role.ADMIN, self.admin
        if self.viewer is not None:
            yield Role.VIEWER, self.viewer


@dataclass(frozen=True, slots=True)
class Loopback:
    """Lets in whoever sits at this machine, and nobody else.

    Refused is every request that comes from another address, to another address, by another name
    (so that no foreign page can reach it by a name of its own that resolves to this machine) or
    through a proxy that says so. A proxy on this machine that says nothing opens it to the world:
    never put one in front.

    Attributes:
        role: What may be done.
    """

    role: Role = Role.ADMIN
    signs_in = False
    refusal = "this dashboard has no token, so it answers only at its own machine, by localhost"

    async def role_of(self, request: Request) -> Role | None:
        addresses = (request.client, request.scope.get("server"))
        at_home = all(address is not None and is_loopback(address[0]) for address in addresses)
        passed_on = any(name in request.headers for name in _PASSED_ON)
        return self.role if at_home and not passed_on and _by_local_name(request) else None


class TokenAuthenticator:
    """Lets in who shows a token."""

    signs_in = True
    refusal = "a token is needed"

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens

    async def role_of(self, request: Request) -> Role | None:
        bearer = bearer_of(request)
        if bearer is not None:
            role = self.tokens.role(bearer)
            if role is None:
                warn_of_attempt(request)
            return role
        session = self.tokens.session(request.cookies.get(SESSION_COOKIE, ""))
        return None if session is None else Role(session.role)


class CallbackAuthenticator:
    """Lets in whom the app's own function knows."""

    signs_in = False
    refusal = "the app does not let you in here"

    def __init__(self, ask: Asked) -> None:
        self._ask = ask

    async def role_of(self, request: Request) -> Role | None:
        told = self._ask(request)
        if inspect.isawaitable(told):
            told = await told
        return Role(told) if told else None


Auth = Tokens | Loopback | Asked | str
"""A token for admins, :class:`Tokens`, :class:`Loopback`, or a function of the request.

The function, async or not, returns ``"admin"``, ``"viewer"`` or ``None``.
"""


def authenticator_of(auth: Auth | None) -> Authenticator:
    """Return the authenticator that a dashboard's ``auth`` stands for.

    Raises:
        ConfigError: It is none.
    """
    if isinstance(auth, str):
        auth = Tokens(admin=auth)
    if isinstance(auth, Tokens):
        return TokenAuthenticator(auth)
    if isinstance(auth, Loopback):
        return auth
    if callable(auth):
        return CallbackAuthenticator(auth)
    raise ConfigError(
        "a dashboard needs auth=…: a token, Tokens(admin=…, viewer=…), a function of the request "
        "that returns 'admin', 'viewer' or None, or Loopback() for this machine only"
    )


def bearer_of(request: Request) -> str | None:
    """Return the token of an ``Authorization: Bearer`` header."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def warn_of_attempt(request: Request) -> None:
    """Log that somebody tried a token that opens nothing."""
    client = request.client.host if request.client else "an unknown address"
    logger.warning("the dashboard was tried with a wrong token from %a", client)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its address or as ``localhost``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _by_local_name(request: Request) -> bool:
    host = request.headers.get("host", "")
    name, _, port = host.rpartition(":")
    if not (name and port.isdigit()):
        name = host
    return name.strip("[]").lower() in _LOCAL_NAMES
