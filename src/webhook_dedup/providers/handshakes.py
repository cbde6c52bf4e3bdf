"""Handshakes: how providers make sure that an endpoint is willing, answered before any claim.

What is echoed is short, plain text, and marked so that no browser takes it for a page.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..errors import RejectedDelivery
from .encodings import is_gzip
from .handshake_protocol import Handshake, Reply, TokenHandshake, VisitingHandshake
from .parsed import Parsed

__all__ = [
    "DiscordPing",
    "Handshake",
    "HeaderEcho",
    "MetaVerification",
    "OriginPermission",
    "Probe",
    "QueryEcho",
    "Reply",
    "SlackVerification",
    "TokenHandshake",
    "VisitingHandshake",
    "ZoomValidation",
    "member",
]

_LONGEST_ECHO = 4_096
_PLAIN = "text/plain; charset=utf-8"
_JSON = "application/json"
_NO_PAGE = (("X-Content-Type-Options", "nosniff"),)
_POST = frozenset({"POST"})
_ORIGIN = re.compile(r"[\x21-\x7e]{1,255}")
_ZOOM_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True, slots=True)
class QueryEcho:
    """The value of a query parameter comes back as the whole body: Nylas, Microsoft Graph.

    Attributes:
        parameter: Name of the parameter.
        method: The HTTP method it comes with.
    """

    parameter: str
    method: str = "GET"
    signed = False

    @property
    def methods(self) -> frozenset[str]:
        return frozenset({self.method})

    def answer(self, request: Parsed, secrets: Sequence[bytes]) -> Reply | None:  # noqa: ARG002 - needs none
        if request.method != self.method:
            return None
        value = request.query_value(self.parameter)
        return None if value is None else _echo(value)


@dataclass(frozen=True, slots=True)
class MetaVerification:
    """Meta's GET with ``hub.challenge``, which comes back if ``hub.verify_token`` is right.

    Attributes:
        token: What was typed into the app's settings as "Verify token".
    """

    token: str = field(default="", repr=False)
    methods = frozenset({"GET"})
    signed = False

    def with_token(self, token: str) -> MetaVerification:
        return replace(self, token=token)

    def answer(self, request: Parsed, secrets: Sequence[bytes]) -> Reply | None:  # noqa: ARG002 - needs none
        if request.method != "GET" or request.query_value("hub.mode") != "subscribe":
            return None
        challenge = request.query_value("hub.challenge")
        offered = request.query_value("hub.verify_token") or ""
        if not self.token or not hmac.compare_digest(_bytes(offered), _bytes(self.token)):
            detail = "hub.verify_token is not the source's verify_token"
            raise RejectedDelivery(403, "wrong_verify_token", detail)
        return _echo(challenge or "")


@dataclass(frozen=True, slots=True)
class HeaderEcho:
    """A GET with a challenge in a header, which comes back in JSON: Okta.

    Attributes:
        header: The header that holds the challenge.
        key: The only key of the JSON object that holds the answer.
    """

    header: str
    key: str
    methods = frozenset({"GET"})
    signed = False

    def answer(self, request: Parsed, secrets: Sequence[bytes]) -> Reply | None:  # noqa: ARG002 - needs none
        value = request.header(self.header) if request.method == "GET" else None
        return None if value is None else _json({self.key: _checked(value)})


@dataclass(frozen=True, slots=True)
class SlackVerification:
    """A signed POST of ``{"type": "url_verification", "challenge": …}``."""

    methods = _POST
    signed = True

    def answer(self, request: Parsed, secrets: Sequence[bytes]) -> Reply | None:  # noqa: ARG002 - needs none
        if request.method != "POST" or member(request, "type") != "url_verification":
            return None
        return _echo(member(request, "challenge"))


@dataclass(frozen=True, slots=True)
class DiscordPing:
    """A signed POST whose ``type`` is a number that no delivery has.

    Attributes:
        type: The number: 1 for interactions, 0 for webhook events.
        reply: What it is answered with.
    """

    type: int
    reply: Reply
    methods = _POST
    signed = True

    def answer(self, request: Parsed, secrets: Sequence[bytes]) -> Reply | None:  # noqa: ARG002 - needs none
        kind = member(request, "type")
        is_ping = request.method == "POST" and type(kind) is int and kind == self.type
        return self.reply if is_ping else None


@dataclass(frozen=True, slots=True)
class ZoomValidation:
    """A POST of a token that comes back with its HMAC. Whether it is signed is not documented.

    It is answered unsigned, which is safe only because the token may not hold a colon: what Zoom
    signs begins with ``v0:``, so that nobody can have a delivery signed here.
    """

    methods = _POST
    signed = False

    def answer(self, request: Parsed, secrets: Sequence[bytes]) -> Reply | None:
        if request.method != "POST" or is_gzip(request.content_encoding):
            return None  # Zoom packs nothing, and this is read before anything is verified
        if member(request, "event") != "endpoint.url_validation":
            return None
        token = member(request, "payload", "plainToken")
        if not isinstance(token, str) or not _ZOOM_TOKEN.fullmatch(token):
            raise _bad("payload.plainToken is not a token of letters, digits, '-' and '_'")
        if not secrets:
            raise _bad("it can be answered only by a source with a secret")
        encrypted = hmac.digest(secrets[0], token.encode(), "sha256").hex()
        return _json({"plainToken": token, "encryptedToken": encrypted})


@dataclass(frozen=True, slots=True)
class Probe:
    """A request of another method than deliveries have, content with any 200.

    Attributes:
        method: ``"HEAD"`` for Mandrill and Intercom, ``"GET"`` for Mailchimp.
    """

    method: str
    signed = False

    @property
    def methods(self) -> frozenset[str]:
        return frozenset({self.method})

    def answer(self, request: Parsed, secrets: Sequence[bytes]) -> Reply | None:  # noqa: ARG002 - needs none
        return Reply() if request.method == self.method else None


@dataclass(frozen=True, slots=True)
class OriginPermission:
    """OPTIONS with ``WebHook-Request-Origin``, answered with a permission: CloudEvents.

    Attributes:
        origins: Who may send; empty permits everyone, whose deliveries are verified all the same.
    """

    origins: tuple[str, ...] = ()
    methods = frozenset({"OPTIONS"})
    signed = False

    def answer(self, request: Parsed, secrets: Sequence[bytes]) -> Reply | None:  # noqa: ARG002 - needs none
        origin = request.header("WebHook-Request-Origin") if request.method == "OPTIONS" else None
        if origin is None:
            return None
        if not _ORIGIN.fullmatch(origin) or (self.origins and origin not in self.origins):
            raise RejectedDelivery(403, "origin_not_allowed", "this origin may not send here")
        allowed = [("Allow", "POST"), ("WebHook-Allowed-Origin", origin)]
        if request.header("WebHook-Request-Rate") is not None:
            allowed.append(("WebHook-Allowed-Rate", "*"))
        return Reply(headers=tuple(allowed))


def member(request: Parsed, *names: str) -> object:
    """Return a member of a JSON body, ``None`` if there is none or the body is something else."""
    try:
        value: object = request.json()
    except RejectedDelivery:
        return None
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _echo(value: object) -> Reply:
    return Reply(body=_bytes(_checked(value)), content_type=_PLAIN, headers=_NO_PAGE)


def _json(content: dict[str, str]) -> Reply:
    return Reply(body=json.dumps(content).encode(), content_type=_JSON, headers=_NO_PAGE)


def _checked(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_ECHO:
        raise _bad(f"its challenge is not a text of 1 to {_LONGEST_ECHO:,} characters")
    return value


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _bad(detail: str) -> RejectedDelivery:
    return RejectedDelivery(400, "bad_handshake", f"the handshake cannot be answered: {detail}")
