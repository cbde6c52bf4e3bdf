"""The providers' own SDKs: what they sign verifies here, and what is signed here verifies there.

Their clocks are this machine's, so that the deliveries here are of now.
"""

import base64
import datetime as dt
import hashlib
import importlib.metadata
import json
import sys
import time
from dataclasses import dataclass
from urllib.parse import parse_qsl

import jwt
import pytest

from benchmarks.signed_deliveries import EC, ED, FORM, FORM_HEADERS, URL
from webhook_dedup.errors import SignatureError
from webhook_dedup.providers import Parsed, raw_headers
from webhook_dedup.providers.schemes import (
    AdyenSignature,
    DiscordSignature,
    HeaderTimedHmac,
    HmacSignature,
    HubSpotSignature,
    PlaidJwt,
    SendGridSignature,
    StandardWebhooks,
    TimestampedHmac,
    TwilioSignature,
    UrlHmac,
)

BODY = '{"id": "evt_1", "name": "Jürgen \\u2603"}'.encode()
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STANDARD = StandardWebhooks()
SVIX = StandardWebhooks(prefix="svix")
OPENAI = StandardWebhooks(text_secrets=True)
STRIPE = TimestampedHmac(header="Stripe-Signature")
SLACK = HeaderTimedHmac(header="X-Slack-Signature", time_header="X-Slack-Request-Timestamp")
PADDLE = TimestampedHmac(
    header="Paddle-Signature",
    time_key="ts",
    signature_key="h1",
    item_separator=";",
    joiner=":",
    tolerance=5,
)
SQUARE = UrlHmac(header="x-square-hmacsha256-signature")
GITHUB = HmacSignature(header="X-Hub-Signature-256", prefix="sha256=")
ADYEN_KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"


def signed(scheme, secret, body=BODY, *, headers=(), url=None, method="POST"):
    message = Parsed(raw_headers(headers), body, url=url, method=method)
    return scheme.sign(message, scheme.load_secret(secret), time.time())


def verify(scheme, secret, headers, body=BODY, *, url=None, method="POST"):
    message = Parsed(raw_headers(headers), body, url=url, method=method)
    scheme.verify(message, [scheme.load_secret(secret)], time.time())


def refuses(scheme, secret, headers, body=BODY + b" ", **options):
    with pytest.raises(SignatureError):
        verify(scheme, secret, headers, body, **options)


DISTRIBUTIONS = [
    "adyen",
    "discord-interactions",
    "gidgethub",
    "hubspot-api-client",
    "openai",
    "paddle-python-sdk",
    "PyJWT",
    "sendgrid",
    "slack-sdk",
    "squareup",
    "standardwebhooks",
    "stripe",
    "svix",
    "twilio",
]
if sys.version_info < (3, 11):
    DISTRIBUTIONS.remove("paddle-python-sdk")  # it is not made for Python 3.10


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_sdk_is_installed(name):
    """Without an SDK this module would show nothing: `pip install --group interop`."""
    assert importlib.metadata.version(name)


def test_stripe():
    """Stripe signs and verifies as we do."""
    from stripe import Webhook, WebhookSignature

    theirs = WebhookSignature.generate_signature_header(BODY.decode(), "whsec_test")
    verify(STRIPE, "whsec_test", {"Stripe-Signature": theirs})
    refuses(STRIPE, "whsec_test", {"Stripe-Signature": theirs})
    ours = signed(STRIPE, "whsec_test")["Stripe-Signature"]
    assert Webhook.construct_event(
        b'{"object": "event", "id": "evt_1"}',
        signed(STRIPE, "whsec_test", b'{"object": "event", "id": "evt_1"}')["Stripe-Signature"],
        "whsec_test",
    )
    assert WebhookSignature.verify_header(BODY.decode(), ours, "whsec_test", 300)


def test_slack():
    """slack-sdk signs and verifies as we do."""
    from slack_sdk.signature import SignatureVerifier

    verifier = SignatureVerifier("s3cret")
    stamp = str(int(time.time()))
    theirs = {
        "X-Slack-Signature": verifier.generate_signature(timestamp=stamp, body=BODY),
        "X-Slack-Request-Timestamp": stamp,
    }
    verify(SLACK, "s3cret", theirs)
    refuses(SLACK, "s3cret", theirs)
    assert verifier.is_valid_request(BODY, signed(SLACK, "s3cret"))
    assert not verifier.is_valid_request(BODY + b" ", signed(SLACK, "s3cret"))


def standard_headers(prefix, signature, now):
    return {
        f"{prefix}-id": "msg_1",
        f"{prefix}-timestamp": str(int(now.timestamp())),
        f"{prefix}-signature": signature,
    }


def test_standard_webhooks():
    """Standardwebhooks signs and verifies as we do."""
    from standardwebhooks import Webhook

    now, webhook = dt.datetime.now(dt.timezone.utc), Webhook(WHSEC)
    theirs = standard_headers("webhook", webhook.sign("msg_1", now, BODY.decode()), now)
    verify(STANDARD, WHSEC, theirs)
    refuses(STANDARD, WHSEC, theirs)
    assert webhook.verify(BODY, signed(STANDARD, WHSEC))["id"] == "evt_1"


def test_svix():
    """Svix signs and verifies as we do."""
    from svix.webhooks import Webhook

    now, webhook = dt.datetime.now(dt.timezone.utc), Webhook(WHSEC)
    theirs = standard_headers("svix", webhook.sign("msg_1", now, BODY.decode()), now)
    verify(SVIX, WHSEC, theirs)
    refuses(SVIX, WHSEC, theirs)
    webhook.verify(BODY, signed(SVIX, WHSEC))
    webhook.verify(BODY, signed(STANDARD, WHSEC))


@pytest.mark.parametrize("secret", [WHSEC, "plain text secret"])
def test_openai(secret):
    """Openai verifies what we sign, with both kinds of secrets."""
    from openai import InvalidWebhookSignatureError, OpenAI

    webhooks = OpenAI(api_key="x").webhooks
    ours = signed(OPENAI, secret)
    webhooks.verify_signature(BODY, ours, secret=secret)
    verify(OPENAI, secret, ours)
    with pytest.raises(InvalidWebhookSignatureError):
        webhooks.verify_signature(BODY + b" ", ours, secret=secret)


def twilio_spellings():
    hashed = hashlib.sha256(BODY).hexdigest()
    for url in (
        URL,
        "https://example.com:8443/x?a=1",
        "http://user:pw@example.com/",
        "https://[::1]/x",
    ):
        yield url, FORM, FORM_HEADERS, dict(parse_qsl(FORM.decode()))
    yield f"https://example.com/x?bodySHA256={hashed}", BODY, (), BODY.decode()


@pytest.mark.parametrize(("url", "body", "headers", "params"), [*twilio_spellings()])
def test_twilio(url, body, headers, params):
    """Twilio signs and verifies as we do, forms and JSON."""
    from twilio.request_validator import RequestValidator

    validator, scheme = RequestValidator("token"), TwilioSignature()
    fields = {} if isinstance(params, str) else params
    theirs = {"X-Twilio-Signature": validator.compute_signature(url, fields)}
    verify(scheme, "token", [*headers, *theirs.items()], body, url=url)
    refuses(scheme, "token", [*headers, *theirs.items()], body + b"&x=1", url=url)
    ours = signed(scheme, "token", body, headers=headers, url=url)["X-Twilio-Signature"]
    assert ours == theirs["X-Twilio-Signature"]
    if "@" not in url and "[" not in url:  # the SDK takes these hosts apart in the wrong place
        assert validator.validate(url, params, ours)


def test_twilio_repeated_fields():
    """A field that comes several times is signed as twilio signs it."""
    from twilio.request_validator import RequestValidator
    from werkzeug.datastructures import MultiDict

    body = b"b=2&a=z&a=y&a=z&empty="
    fields = MultiDict(parse_qsl(body.decode(), keep_blank_values=True))
    theirs = RequestValidator("token").compute_signature(URL, fields)
    verify(
        TwilioSignature(),
        "token",
        [*FORM_HEADERS, ("X-Twilio-Signature", theirs)],
        body,
        url=URL,
    )


if sys.version_info >= (3, 11):  # paddle-python-sdk is not made for Python 3.10

    def test_paddle():
        """paddle-python-sdk signs and verifies as we do."""
        from paddle_billing.Notifications import Secret, Verifier
        from paddle_billing.Notifications.PaddleSignature import PaddleSignature

        stamp = int(time.time())
        mac = PaddleSignature.calculate_hmac("pdl_x", f"{stamp}:{BODY.decode()}".encode())
        theirs = {"Paddle-Signature": f"ts={stamp};h1={mac.hexdigest()}"}
        verify(PADDLE, "pdl_x", theirs)
        refuses(PADDLE, "pdl_x", theirs)

        @dataclass
        class Request:
            headers: dict
            body: bytes = BODY

        assert Verifier().verify(Request(signed(PADDLE, "pdl_x")), Secret("pdl_x"))
        assert not Verifier().verify(Request(signed(PADDLE, "other")), Secret("pdl_x"))


def test_square():
    """Squareup verifies what we sign."""
    from square.utils.webhooks_helper import verify_signature

    ours = signed(SQUARE, "key", url=URL)
    verify(SQUARE, "key", ours, url=URL)
    theirs = {
        "signature_header": ours["x-square-hmacsha256-signature"],
        "signature_key": "key",
        "notification_url": URL,
    }
    assert verify_signature(request_body=BODY.decode(), **theirs)
    assert not verify_signature(request_body=BODY.decode() + " ", **theirs)


def test_discord():
    """discord-interactions verifies what we sign; its library signs what we verify."""
    from discord_interactions import verify_key
    from nacl.signing import SigningKey

    scheme, stamp = DiscordSignature(), str(int(time.time()))
    signature = SigningKey(ED.seed).sign(stamp.encode() + BODY).signature.hex()
    theirs = {"X-Signature-Ed25519": signature, "X-Signature-Timestamp": stamp}
    verify(scheme, ED.public.hex(), theirs)
    refuses(scheme, ED.public.hex(), theirs)
    ours = signed(scheme, ED.pair.hex())
    values = ours["X-Signature-Ed25519"], ours["X-Signature-Timestamp"], ED.public.hex()
    assert verify_key(BODY, *values)
    assert not verify_key(BODY + b" ", *values)


def test_standard_webhooks_v1a():
    """PyNaCl verifies our Ed25519 signatures, and we verify its."""
    from nacl.signing import SigningKey, VerifyKey

    private = f"whsk_{base64.b64encode(ED.pair).decode()}"
    public = f"whpk_{base64.b64encode(ED.public).decode()}"
    ours = signed(STANDARD, private)
    content = f"{ours['webhook-id']}.{ours['webhook-timestamp']}.".encode() + BODY
    version, _, encoded = ours["webhook-signature"].partition(",")
    VerifyKey(ED.public).verify(content, base64.b64decode(encoded))
    assert version == "v1a"
    theirs = base64.b64encode(SigningKey(ED.seed).sign(content).signature).decode()
    verify(STANDARD, public, {**ours, "webhook-signature": f"v1a,{theirs}"})
    refuses(STANDARD, public, {**ours, "webhook-signature": f"v1a,{theirs}"})


def test_sendgrid():
    """Sendgrid verifies what we sign, with the key as its dashboard shows it."""
    from sendgrid.helpers.eventwebhook import EventWebhook

    scheme, body = SendGridSignature(), b'[{"sg_event_id": "1"}]\r\n'
    ours = signed(scheme, EC.private_der, body)
    verify(scheme, EC.public_der, ours, body)
    refuses(scheme, EC.public_der, ours, body.rstrip())
    webhook = EventWebhook(EC.public_der)
    values = (ours[scheme.header], ours[scheme.time_header])
    assert webhook.verify_signature(body.decode(), *values)
    assert not webhook.verify_signature(body.decode().rstrip(), *values)


ITEM = {
    "pspReference": "7914073381342284",
    "merchantAccountCode": "Shop:1",
    "merchantReference": "\\ ü",
    "amount": {"value": 1130, "currency": "EUR"},
    "eventCode": "AUTHORISATION",
    "success": "true",
}


def test_adyen_items():
    """Adyen's helper signs and verifies as we do, an item at a time."""
    from Adyen.util import generate_notification_sig, is_valid_hmac_notification

    scheme = AdyenSignature()
    theirs = generate_notification_sig(ITEM, ADYEN_KEY).decode()
    item = {**ITEM, "additionalData": {"hmacSignature": theirs}}
    body = {"notificationItems": [{"NotificationRequestItem": item}]}
    verify(scheme, ADYEN_KEY, {}, json.dumps(body).encode())
    unsigned = {"notificationItems": [{"NotificationRequestItem": ITEM}]}
    message = Parsed([], json.dumps(unsigned).encode())
    sealed = scheme.seal(message, scheme.load_secret(ADYEN_KEY), time.time())
    assert is_valid_hmac_notification(json.loads(sealed), ADYEN_KEY)
    item["success"] = "false"
    refuses(scheme, ADYEN_KEY, {}, json.dumps(body).encode())


def test_every_item_of_adyen_counts():
    """A forged second item, which Adyen's helper does not look at, is refused here."""
    from Adyen.util import generate_notification_sig, is_valid_hmac_notification

    theirs = generate_notification_sig(ITEM, ADYEN_KEY).decode()
    right = {**ITEM, "additionalData": {"hmacSignature": theirs}}
    forged = {**right, "amount": {"value": 1, "currency": "EUR"}}
    entries = [{"NotificationRequestItem": item} for item in (right, forged)]
    body = {"notificationItems": entries}
    assert is_valid_hmac_notification(body, ADYEN_KEY)
    refuses(AdyenSignature(), ADYEN_KEY, {}, json.dumps(body).encode())


def test_adyen_header():
    """Adyen's helper signs and verifies whole bodies as we do."""
    from Adyen.util import generate_payload_sig, is_valid_hmac_payload

    scheme = AdyenSignature()
    theirs = {"HmacSignature": generate_payload_sig(BODY, ADYEN_KEY).decode()}
    verify(scheme, ADYEN_KEY, theirs)
    refuses(scheme, ADYEN_KEY, theirs)
    ours = signed(scheme, ADYEN_KEY)["HmacSignature"]
    assert is_valid_hmac_payload(ours, ADYEN_KEY, BODY)


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_hubspot(version):
    """hubspot-api-client signs and verifies as we do, in all versions."""
    from hubspot.utils.signature import Signature

    scheme, stamp = HubSpotSignature(versions=(version,)), str(int(time.time() * 1000))
    url = "https://example.com/hooks?a=1"
    theirs = Signature.get_signature("s3cret", BODY.decode(), version, url, "POST", stamp)
    headers = (
        {"X-HubSpot-Signature-v3": theirs, "X-HubSpot-Request-Timestamp": stamp}
        if version == "v3"
        else {"X-HubSpot-Signature": theirs, "X-HubSpot-Signature-Version": version}
    )
    verify(scheme, "s3cret", headers, url=url)
    refuses(scheme, "s3cret", headers, url=url)
    ours = signed(scheme, "s3cret", url=url)
    value = ours.get("X-HubSpot-Signature-v3") or ours["X-HubSpot-Signature"]
    stamp = ours.get("X-HubSpot-Request-Timestamp")
    assert Signature.is_valid(value, "s3cret", BODY.decode(), url, "POST", version, stamp)


def test_github():
    """Gidgethub verifies what we sign."""
    from gidgethub import ValidationFailure
    from gidgethub.sansio import validate_event

    ours = signed(GITHUB, "s3cret")["X-Hub-Signature-256"]
    validate_event(BODY, signature=ours, secret="s3cret")
    with pytest.raises(ValidationFailure):
        validate_event(BODY + b" ", signature=ours, secret="s3cret")


def test_plaid():
    """PyJWT signs and verifies as we do."""
    scheme, secret = PlaidJwt(), json.dumps(EC.private_jwk)
    claims = {"iat": int(time.time()), "request_body_sha256": hashlib.sha256(BODY).hexdigest()}
    theirs = jwt.encode(claims, EC.key, algorithm="ES256", headers={"kid": "k1"})
    verify(scheme, json.dumps(EC.public_jwk), {"Plaid-Verification": theirs})
    refuses(scheme, json.dumps(EC.public_jwk), {"Plaid-Verification": theirs})
    ours = signed(scheme, secret)["Plaid-Verification"]
    read = jwt.decode(ours, EC.key.public_key(), algorithms=["ES256"])
    assert read["request_body_sha256"] == claims["request_body_sha256"]
