"""Published signatures: each verifies as it is, and none with a single bit changed.

What a scheme does not cover may change: ``covered`` says for each kind of body what counts, so that
an exception is a statement and no gap. Those marked ``generated_here`` prove only that the formula
as documented agrees with itself.
"""

import base64
import itertools
import json
import re
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from webhook_dedup import providers
from webhook_dedup.errors import ConfigError, SignatureError
from webhook_dedup.providers import Parsed, load_secrets, raw_headers
from webhook_dedup.providers.schemes import (
    AdyenSignature,
    DiscordSignature,
    HeaderTimedHmac,
    HmacSignature,
    HubSpotSignature,
    MailgunSignature,
    MandrillSignature,
    PlaidJwt,
    SendGridSignature,
    SnsSignature,
    StandardWebhooks,
    TimestampedHmac,
    TwilioSignature,
    UrlHmac,
)
from webhook_dedup.providers.schemes.keyfiles import public_p256, public_p256_jwk

VECTORS = json.loads(Path(__file__).with_name("vectors.json").read_text())
HANDSHAKES = {"zoom/gen-crc"}  # an answer to a question, and no signature
REFUSED = {"square/url-mismatch"}
MADE = 1_700_000_000.0


def mac(header, **options):
    return HmacSignature(header=header, **options)


SCHEMES = {
    "standard-webhooks": StandardWebhooks(),
    "svix": StandardWebhooks(prefix="svix"),
    "openai": StandardWebhooks(text_secrets=True),
    "gitlab": StandardWebhooks(),
    "github": mac("X-Hub-Signature-256", prefix="sha256="),
    "github/gidgethub-sha1-legacy": mac("X-Hub-Signature", algorithm="sha1", prefix="sha1="),
    "jira": mac("X-Hub-Signature", prefix="sha256="),
    "bitbucket": mac("X-Hub-Signature", prefix="sha256="),
    "slack": HeaderTimedHmac(header="X-Slack-Signature", time_header="X-Slack-Request-Timestamp"),
    "stripe": TimestampedHmac(header="Stripe-Signature"),
    "paddle": TimestampedHmac(
        header="Paddle-Signature",
        time_key="ts",
        signature_key="h1",
        item_separator=";",
        joiner=":",
        tolerance=5,
    ),
    "calendly": TimestampedHmac(header="Calendly-Webhook-Signature"),
    "twilio": TwilioSignature(),
    "sendgrid": SendGridSignature(tolerance=300),
    "adyen": AdyenSignature(),
    "square": UrlHmac(header="x-square-hmacsha256-signature"),
    "coinbase-commerce": mac("X-CC-Webhook-Signature"),
    "razorpay": mac("X-Razorpay-Signature"),
    "hubspot": HubSpotSignature(versions=("v1", "v2", "v3")),
    "mailgun": MailgunSignature(),
    "shopify": mac("X-Shopify-Hmac-Sha256", encoding="base64"),
    "meta-whatsapp": mac("X-Hub-Signature-256", prefix="sha256="),
    "mandrill": MandrillSignature(),
    "linear": mac("Linear-Signature"),
    "nylas": mac("X-Nylas-Signature"),
    "discord": DiscordSignature(tolerance=300),
    "typeform": mac("Typeform-Signature", prefix="sha256=", encoding="base64"),
    "vercel": mac("x-vercel-signature", algorithm="sha1"),
    "sentry": mac("Sentry-Hook-Signature"),
    "intercom": mac("X-Hub-Signature", algorithm="sha1", prefix="sha1="),
    "lemonsqueezy": mac("X-Signature"),
    "plaid": PlaidJwt(),
}
UNSIGNED_HEADERS = {
    "Content-Type": "says how to read the body",
    "Idempotency-Key": "GitLab repeats webhook-id in it",
    "Linear-Delivery": "the event id, which Linear does not sign",
    "Linear-Event": "Linear does not sign it",
    "Sentry-Hook-Resource": "Sentry does not sign it",
    "Sentry-Hook-Timestamp": "Sentry does not sign it",
    "Request-ID": "Sentry does not sign it",
    "X-Event-Name": "Lemon Squeezy does not sign it",
    "X-Request-UUID": "Bitbucket does not sign it",
    "X-Hook-UUID": "Bitbucket does not sign it",
    "X-Attempt-Number": "Bitbucket does not sign it",
    "X-Event-Key": "Bitbucket does not sign it",
}
ADYEN_FIELDS = (
    "pspReference",
    "originalReference",
    "merchantAccountCode",
    "merchantReference",
    "eventCode",
    "success",
)
SNS_FIELDS = (
    "Message",
    "MessageId",
    "Signature",
    "SignatureVersion",
    "Subject",
    "Timestamp",
    "TopicArn",
    "Type",
)


class Signed:
    """A vector as a scheme, a message and the time of its signature."""

    def __init__(self, vector):
        self.id = vector["id"]
        self.provider = vector["provider"]
        self.url = vector.get("url")
        self.headers = dict(vector["headers"])
        self.body = vector["body"].encode()
        self.secret = vector.get("secret")
        self.expected = vector["expected"]
        self.now = signed_at(vector)
        self.scheme = SCHEMES.get(self.id) or SCHEMES.get(self.provider)
        if self.provider == "aws-sns":
            certificate = vector["certificate_pem"].encode()
            # Lambda functions, which no HTTP delivery reaches, get other spellings of the names.
            self.body = self.body.replace(b'Url": ', b'URL": ')
            self.scheme = SnsSignature(fetch_certificate=lambda url: certificate, tolerance=60)
            self.secret = json.loads(self.body)["TopicArn"]
        if self.provider == "plaid":
            self.secret = json.dumps(vector["jwk"])
        if self.id.startswith("adyen/item"):
            item = json.loads(self.body)
            item.setdefault("additionalData", {})["hmacSignature"] = self.expected
            entry = {"NotificationRequestItem": item}
            self.body = json.dumps({"notificationItems": [entry]}).encode()

    def verify(self, *, secret=None, headers=None, body=None, url=None, now=None):
        message = Parsed(
            raw_headers(self.headers if headers is None else headers),
            self.body if body is None else body,
            url=url or self.url,
        )
        secrets = load_secrets(self.scheme, self.secret if secret is None else secret)
        self.scheme.verify(message, secrets, self.now if now is None else now)

    def covered(self, body):
        """Return what the scheme covers of a body; ``None`` if it cannot be read."""
        kind = self.headers.get("Content-Type", "")
        try:
            if self.provider == "mailgun":
                return json.loads(body)["signature"]
            if self.id.startswith("adyen/item"):
                return adyen_fields(body)
            if self.provider == "aws-sns":
                return {name: json.loads(body).get(name) for name in SNS_FIELDS}
            if "urlencoded" in kind and self.provider in ("twilio", "mandrill"):
                return parse_qs(body.decode(), keep_blank_values=True, errors="strict")
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        return body


def adyen_fields(body):
    (entry,) = json.loads(body)["notificationItems"]
    item = entry["NotificationRequestItem"]
    amount = item["amount"]
    fields = [item.get(name) for name in ADYEN_FIELDS]
    signature = item["additionalData"]["hmacSignature"]
    return [*fields, amount["value"], amount["currency"], signature]


def signed_at(vector):
    headers = {name.lower(): value for name, value in vector["headers"].items()}
    for name, value in headers.items():
        if name.endswith("timestamp") and not name.startswith("sentry"):
            return int(value) / (1000 if "hubspot" in name else 1)
        if found := re.match(r"ts?=(\d+)", value):
            return float(found[1])
    if vector["provider"] == "aws-sns":
        return providers.parse_time(json.loads(vector["body"])["Timestamp"])
    if vector["provider"] == "mailgun":
        return float(json.loads(vector["body"])["signature"]["timestamp"])
    return MADE


VALID = [v for v in VECTORS if v["id"] not in HANDSHAKES | REFUSED]


@pytest.fixture(params=VALID, ids=lambda vector: vector["id"])
def signed(request):
    return Signed(request.param)


def flips(data):
    """Yield every change of one bit; of long data one bit in every seventh byte."""
    if len(data) <= 2_000:
        places = itertools.product(range(len(data)), range(8))
    else:
        places = ((index, index % 8) for index in range(0, len(data), 7))
    for index, bit in places:
        changed = bytearray(data)
        changed[index] ^= 1 << bit
        yield bytes(changed)


def test_a_published_signature_verifies(signed):
    """A delivery that the provider or its library published is accepted at its time."""
    signed.verify()


@pytest.mark.parametrize("vector", [v for v in VECTORS if v["id"] in REFUSED])
def test_a_published_refusal_is_refused(vector):
    """What the provider's library refuses is refused."""
    with pytest.raises(SignatureError, match="does not match"):
        Signed(vector).verify()


def test_every_vector_is_tried():
    """No vector is without a scheme."""
    assert len(VALID) == 58
    assert all(Signed(vector).scheme for vector in VALID)


def test_no_changed_bit_in_the_body_verifies(signed):
    """Each bit of the body counts that the scheme covers, and no other."""
    original = signed.covered(signed.body)
    for body in flips(signed.body):
        try:
            signed.verify(body=body)
        except SignatureError:
            if signed.provider == "aws-sns" or signed.id.startswith("adyen/item"):
                continue  # an unreadable part that is not covered refuses, too
            assert signed.covered(body) != original
        else:
            assert signed.covered(body) == original


def test_no_changed_bit_in_the_secret_verifies(signed):
    """Each bit of the secret counts, save the letter case of hex and the padding of base64."""
    right = signed.scheme.load_secret(signed.secret)
    for secret in flips(signed.secret.encode()):
        try:
            same = signed.scheme.load_secret(secret) == right
        except ConfigError:
            continue
        if same:
            assert secret.lower().rstrip(b"=\x1d") == signed.secret.lower().rstrip("=").encode()
            continue
        if signed.provider in PUBLIC_KEYS:
            read = PUBLIC_KEYS[signed.provider]
            if read(secret) == read(signed.secret):
                continue  # another spelling of the same key
        with pytest.raises(SignatureError):
            signed.verify(secret=secret)


def jwk_numbers(jwk):
    return public_p256_jwk(json.loads(jwk)).public_numbers()


def der_numbers(encoded):
    return public_p256(base64.b64decode(encoded)).public_numbers()


PUBLIC_KEYS = {"plaid": jwk_numbers, "sendgrid": der_numbers}


def test_no_changed_bit_in_a_header_verifies(signed):
    """Each bit of time, id and signature counts, save in signatures beside the right one."""
    for name in signed.headers.keys() - UNSIGNED_HEADERS.keys():
        value = signed.headers[name].encode()
        needed = needed_items(signed, value)
        for changed in flips(value):
            if needed and needed <= set(re.split(rb"[ ,;]", changed)):
                continue
            with pytest.raises(SignatureError):
                signed.verify(headers=[*others(signed.headers, name), (name, changed)])


def needed_items(signed, value):
    """Return the items of a list of signatures that must stay as they are."""
    if signed.provider == "stripe":
        return {value.split(b",")[0], b"v1=" + signed.expected.encode()}
    if signed.provider == "paddle" and value.count(b"h1=") > 1:
        return {value.split(b";")[0], b"h1=" + signed.expected.encode()}
    if signed.id == "standard-webhooks/multi-signature":
        return set(signed.expected.encode().split(b","))
    return set()


def others(headers, name):
    return [pair for pair in headers.items() if pair[0] != name]


def test_no_changed_bit_in_the_url_verifies(signed):
    """Where the URL is signed, each bit of it counts."""
    signs_url = isinstance(signed.scheme, (UrlHmac, TwilioSignature, MandrillSignature))
    if signed.url is None or not (signs_url or "v2" in signed.id or "v3" in signed.id):
        return
    for changed in flips(signed.url.encode()):
        url = changed.decode("latin-1")
        if url.lower() == signed.url.lower() or same_spelling(url, signed.url):
            continue
        with pytest.raises(SignatureError):
            signed.verify(url=url)


def same_spelling(url, original):
    """Whether Twilio's own library takes one for the other: a port, or an escape, more or less."""
    plain = re.compile(r"(?<=\.com):\d+")
    return plain.sub("", url).replace("%27", "'") == plain.sub("", original)


def test_a_time_too_far_away_is_refused(signed):
    """Where a time is signed, a day later and a day earlier the delivery is refused."""
    later = signed.now + 86_400
    signs_time = signed.id not in ("hubspot/v1", "hubspot/v2-post", "hubspot/v2-post-json")
    if not (signs_time and getattr(signed.scheme, "tolerance", None)):
        signed.verify(now=later)
        return
    for now, code in ((later, "signature_too_old"), (signed.now - 86_400, "signature_in_future")):
        with pytest.raises(SignatureError) as caught:
            signed.verify(now=now)
        assert caught.value.code == code


OTHERS = {
    "aws-sns": "arn:aws:sns:us-east-2:295079676684:other",
    "discord": "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    "plaid": '{"kty": "EC", "crv": "P-256", '
    '"x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", '
    '"y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}',
    "sendgrid": "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEMKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6K"
    "PAqv7D7gS2XpJFbZiItSs3m9+9Ue6GnvHw/GW2ZZaVtszggXIw==",
    "adyen": "00" * 32,
}


def other_secret(signed):
    if isinstance(signed.scheme, StandardWebhooks):
        return "whsec_b3RoZXIgc2VjcmV0"
    return OTHERS.get(signed.provider, "other")


def test_one_of_several_secrets_is_enough(signed):
    """Whichever place the right secret has among several, the delivery is accepted."""
    other = other_secret(signed)
    for secrets in ([other, signed.secret], [signed.secret, other], [other, signed.secret, other]):
        signed.verify(secret=secrets)


def test_several_wrong_secrets_refuse(signed):
    """Several wrong secrets are as wrong as one."""
    other = other_secret(signed)
    with pytest.raises(SignatureError) as caught:
        signed.verify(secret=[other, other])
    assert (caught.value.status, caught.value.code) == (401, "signature_mismatch")


def test_stripe_ignores_other_items():
    """Stripe's v0 may hold anything."""
    (vector,) = (vector for vector in VECTORS if vector["provider"] == "stripe")
    header = vector["headers"]["Stripe-Signature"]
    Signed(vector).verify(headers={"stripe-signature": header.partition("v0=")[0] + "v0=?,v9"})


def test_a_public_key_verifies_what_its_private_key_signed():
    """Standard Webhooks' v1a is verified with whpk_."""
    (vector,) = (vector for vector in VECTORS if vector["id"] == "standard-webhooks/v1a-ed25519")
    Signed(vector).verify(secret=vector["public_key"])


def test_secrets_that_must_not_match_do_not():
    """Paddle's other secrets, published beside the right one, are refused."""
    for vector in VALID:
        for secret in vector.get("other_secrets_that_must_not_match", ()):
            with pytest.raises(SignatureError, match="does not match"):
                Signed(vector).verify(secret=secret)
