"""A valid delivery for every signature scheme, to be changed by tests and by the fuzz program."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from urllib.parse import urlencode

from webhook_dedup.providers import Parsed, raw_headers
from webhook_dedup.providers.schemes import (
    AdyenSignature,
    AnyOf,
    BasicAuth,
    BearerToken,
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
    SealingScheme,
    SendGridSignature,
    SharedToken,
    SignatureScheme,
    SnsSignature,
    StandardWebhooks,
    TimestampedHmac,
    TwilioSignature,
    UrlHmac,
)

from .signing_keys import Ed25519Pair, P256Pair, certificate, rsa_pem

__all__ = ["CASES", "NOW", "Case"]

NOW = 1_800_000_000.0
JSON = b'{"id": "evt_1", "type": "order.paid"}'
FORM = urlencode({"MessageSid": "SM1", "Body": "it's + 1 & 2", "To": "+1555"}).encode()
FORM_HEADERS = (("Content-Type", "application/x-www-form-urlencoded"),)
URL = "https://example.com/hooks?a=1&b=it's%20x"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:orders"
ED, OTHER_ED = Ed25519Pair(bytes(range(32))), Ed25519Pair(bytes(32))
EC, OTHER_EC = P256Pair(0x1234567890ABCDEF), P256Pair(77)
VALIDITY = (NOW - 9e5, NOW + 9e5)


@dataclass(frozen=True)
class Case:
    """A scheme with what it takes to sign for it.

    ``secret`` signs; ``receiver`` is what the receiver has, where that is another one.
    """

    scheme: SignatureScheme
    secret: str
    other: str
    receiver: str | None = None
    body: bytes = JSON
    headers: tuple[tuple[str, str], ...] = ()
    url: str | None = None
    query: bytes = b""

    @property
    def secrets(self) -> tuple[bytes, ...]:
        return (self.scheme.load_secret(self.receiver or self.secret),)

    def message(self, now: float = NOW, body: bytes | None = None) -> Parsed:
        """Return a valid delivery."""
        key = self.scheme.load_secret(self.secret)
        message = self._unsigned(self.body if body is None else body)
        if isinstance(self.scheme, SealingScheme):
            message = self._unsigned(self.scheme.seal(message, key, now))
        signed = self.scheme.sign(message, key, now).items()
        return Parsed(
            raw_headers([*self.headers, *signed]), message.body, url=self.url, query=self.query
        )

    def _unsigned(self, body: bytes) -> Parsed:
        return Parsed(raw_headers(self.headers), body, url=self.url, query=self.query)


def _adyen_body() -> bytes:
    items = [
        {
            "NotificationRequestItem": {
                "pspReference": f"psp{number}",
                "merchantAccountCode": "shop:1",
                "merchantReference": "order \\ ü",
                "amount": {"value": 1000 + number, "currency": "EUR"},
                "eventCode": "AUTHORISATION",
                "success": "true",
            }
        }
        for number in range(3)
    ]
    return json.dumps({"live": "false", "notificationItems": items}).encode()


def _sns_body(kind: str = "Notification") -> bytes:
    notice = {"Type": kind, "MessageId": "m-1", "Message": "hello\nworld"}
    if kind != "Notification":
        notice |= {"SubscribeURL": "https://sns.eu-west-1.amazonaws.com/?x=1", "Token": "t"}
    return json.dumps(notice).encode()


def _twilio_json_url() -> str:
    return f"{URL}&bodySHA256={hashlib.sha256(JSON).hexdigest()}"


STATES = json.dumps({"value": [{"id": "n1"}, {"id": "n2"}]}).encode()
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_WHSEC = "whsec_b3RoZXIgc2VjcmV0"


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _sns(version: str) -> SnsSignature:
    return SnsSignature(
        fetch_certificate=lambda _: certificate("sns.amazonaws.com", *VALIDITY),
        versions=(version,),
    )


def _paypal() -> PayPalSignature:
    return PayPalSignature(
        fetch_certificate=lambda _: certificate("webhooks.paypal.com", *VALIDITY)
    )


CASES: dict[str, Case] = {
    "hmac": Case(HmacSignature(header="X-Sig", prefix="sha256="), "s3cret", "other"),
    "hmac-base64-hex-key": Case(
        HmacSignature(header="X-Sig", encoding="base64", algorithm="sha1", key="hex"), "0aff", "00"
    ),
    "timestamped": Case(TimestampedHmac(header="Stripe-Signature"), "whsec_x", "other"),
    "header-timed": Case(
        HeaderTimedHmac(header="X-Slack-Signature", time_header="X-Slack-Request-Timestamp"),
        "s3cret",
        "other",
    ),
    "standard": Case(StandardWebhooks(), WHSEC, OTHER_WHSEC, headers=(("webhook-id", "msg_1"),)),
    "svix": Case(StandardWebhooks(prefix="svix"), WHSEC, OTHER_WHSEC),
    "standard-v1a": Case(
        StandardWebhooks(),
        f"whsk_{_base64(ED.pair)}",
        f"whpk_{_base64(OTHER_ED.public)}",
        receiver=f"whpk_{_base64(ED.public)}",
    ),
    "standard-text": Case(StandardWebhooks(text_secrets=True), "plain text", "other"),
    "twilio-form": Case(
        TwilioSignature(), "token", "other", body=FORM, headers=FORM_HEADERS, url=URL
    ),
    "twilio-json": Case(TwilioSignature(), "token", "other", url=_twilio_json_url()),
    "url-hmac": Case(UrlHmac(header="x-square-hmacsha256-signature"), "key", "other", url=URL),
    "hubspot-v3": Case(HubSpotSignature(), "client secret", "other", url=URL),
    "hubspot-v2": Case(HubSpotSignature(versions=("v2", "v1")), "client secret", "other", url=URL),
    "hubspot-v1": Case(HubSpotSignature(versions=("v1",)), "client secret", "other"),
    "mandrill": Case(MandrillSignature(), "key", "other", body=FORM, headers=FORM_HEADERS, url=URL),
    "sendgrid": Case(
        SendGridSignature(), EC.private_der, OTHER_EC.public_der, receiver=EC.public_der
    ),
    "discord": Case(
        DiscordSignature(),
        ED.pair.hex(),
        OTHER_ED.public.hex(),
        receiver=ED.public.hex(),
    ),
    "sns-fetched": Case(
        _sns("2"), f"{TOPIC}\n{rsa_pem()}", f"{TOPIC}2", receiver=TOPIC, body=_sns_body()
    ),
    "sns-v1-pinned": Case(
        _sns("1"),
        f"{TOPIC}\n{rsa_pem()}",
        f"{TOPIC}2",
        body=_sns_body("SubscriptionConfirmation"),
    ),
    "paypal-fetched": Case(
        _paypal(), f"4JH86294D6297924G\n{rsa_pem()}", "OTHER", receiver="4JH86294D6297924G"
    ),
    "paypal-pinned": Case(_paypal(), f"4JH86294D6297924G\n{rsa_pem()}", "OTHER"),
    "plaid-fetched": Case(
        PlaidJwt(fetch_key=lambda *_: EC.public_jwk),
        json.dumps(EC.private_jwk),
        json.dumps(OTHER_EC.public_jwk),
        receiver="client:secret",
    ),
    "plaid-jwk": Case(PlaidJwt(), json.dumps(EC.private_jwk), json.dumps(OTHER_EC.public_jwk)),
    "mailgun-json": Case(MailgunSignature(), "key-1", "other"),
    "mailgun-form": Case(MailgunSignature(), "key-1", "other", body=FORM, headers=FORM_HEADERS),
    "adyen-items": Case(AdyenSignature(), "44782DEF547AAA06", "00", body=_adyen_body()),
    "adyen-header": Case(AdyenSignature(), "44782DEF547AAA06", "00"),
    "graph": Case(GraphClientState(), "state", "other", body=STATES),
    "token": Case(SharedToken(header="X-Gitlab-Token"), "t0ken", "other"),
    "bearer": Case(BearerToken(), "t0ken", "other"),
    "query": Case(QueryToken("access_token"), "t0 ken", "other", query=b"a=1&access_token=t0+ken"),
    "basic": Case(BasicAuth(), "user:pass word", "user:other"),
    "any-of": Case(
        AnyOf(StandardWebhooks(), SharedToken(header="X-Gitlab-Token")), WHSEC, OTHER_WHSEC
    ),
}
