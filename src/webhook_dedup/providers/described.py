"""Rows in words, for people: the command ``providers`` and the table of the README."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .batches import Items
from .extract import Expression, FirstOf
from .handshakes import (
    DiscordPing,
    Handshake,
    HeaderEcho,
    MetaVerification,
    OriginPermission,
    Probe,
    QueryEcho,
    SlackVerification,
    ZoomValidation,
)
from .schemes import (
    AdyenSignature,
    AnyOf,
    BasicAuth,
    DiscordSignature,
    GraphClientState,
    HeaderTimedHmac,
    HmacSignature,
    HubSpotSignature,
    MailgunSignature,
    MandrillSignature,
    PayPalSignature,
    PlaidJwt,
    QueryToken,
    SendGridSignature,
    SharedToken,
    SignatureScheme,
    SnsSignature,
    StandardWebhooks,
    TimestampedHmac,
    TwilioSignature,
    UrlHmac,
)
from .subscriptions import SnsConfirmation

__all__ = ["expression_text", "handshake_text", "scheme_text", "span_text"]

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))

_SCHEMES: dict[type, Callable[[Any], str]] = {
    AdyenSignature: lambda _: "HMAC-SHA256 in each item of the body",
    AnyOf: lambda one: " or ".join(scheme_text(scheme) for scheme in one.schemes),
    BasicAuth: lambda _: "user and password (not signed)",
    DiscordSignature: lambda one: f"Ed25519 in {one.header}",
    GraphClientState: lambda _: "clientState in each item (not signed)",
    HeaderTimedHmac: lambda one: f"HMAC-SHA256 with time in {one.header}",
    HmacSignature: lambda one: f"HMAC-{one.algorithm.upper()} in {one.header}",
    HubSpotSignature: lambda _: "HMAC-SHA256 over URL, body and time in X-HubSpot-Signature-v3",
    MailgunSignature: lambda _: "HMAC-SHA256 over a token in the body (body not signed)",
    MandrillSignature: lambda one: f"HMAC-SHA1 over URL and form in {one.header}",
    PayPalSignature: lambda _: "RSA over the body's CRC-32 in PAYPAL-TRANSMISSION-SIG",
    PlaidJwt: lambda one: f"ES256 JWT in {one.header}",
    QueryToken: lambda one: f"token in the URL as {one.name} (not signed)",
    SendGridSignature: lambda one: f"ECDSA P-256 in {one.header}",
    SharedToken: lambda one: f"token in {one.header} (not signed)",
    SnsSignature: lambda _: "RSA in the body",
    StandardWebhooks: lambda one: f"HMAC-SHA256 or Ed25519 with time in {one.prefix}-signature",
    TimestampedHmac: lambda one: f"HMAC-SHA256 with time in {one.header}",
    TwilioSignature: lambda one: f"HMAC-SHA1 over URL and form in {one.header}",
    UrlHmac: lambda one: f"HMAC-{one.algorithm.upper()} over URL and body in {one.header}",
}

_HANDSHAKES: dict[type, Callable[[Any], str]] = {
    DiscordPing: lambda one: f"signed POST of type {one.type}",
    HeaderEcho: lambda one: f"GET, echoes {one.header}",
    MetaVerification: lambda _: "GET, compares hub.verify_token, echoes hub.challenge",
    OriginPermission: lambda _: "OPTIONS, permits WebHook-Request-Origin",
    Probe: lambda one: f"{one.method}, answers 200",
    QueryEcho: lambda one: f"{one.method}, echoes ?{one.parameter}=",
    SlackVerification: lambda _: "signed POST of type url_verification, echoes challenge",
    SnsConfirmation: lambda one: (
        "signed SubscriptionConfirmation, "
        + ("visits SubscribeURL" if one.confirm else "answered and not confirmed")
    ),
    ZoomValidation: lambda _: "POST of endpoint.url_validation, answers the token's HMAC",
}


def expression_text(expression: Expression | Items | None) -> str:
    """Return an expression as one line: parts joined by ``+``, alternatives by ``or``."""
    if expression is None:
        return ""
    if isinstance(expression, FirstOf):
        return " or ".join(expression_text(choice) for choice in expression.choices)
    if isinstance(expression, tuple):
        return " + ".join(map(str, expression))
    return str(expression)


def scheme_text(scheme: SignatureScheme | None) -> str:
    """Return what proves a delivery; schemes of the user's own by their class."""
    return _text(_SCHEMES, scheme)


def handshake_text(handshake: Handshake | None) -> str:
    """Return how the provider asks, and what it is told."""
    return _text(_HANDSHAKES, handshake)


def span_text(seconds: float) -> str:
    """Return a duration in its largest units, at most two of them; nothing for 0."""
    parts = []
    rest = int(seconds)
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def _text(known: dict[type, Callable[[Any], str]], thing: object) -> str:
    if thing is None:
        return ""
    describe = known.get(type(thing))
    return describe(thing) if describe else type(thing).__name__
