"""What holds for every signature scheme: round trips, rotation, refusals with a stable code."""

import dataclasses
import json

import pytest

from benchmarks.signed_deliveries import CASES, NOW, TOPIC
from webhook_dedup.errors import ConfigError, SignatureError
from webhook_dedup.providers import Parsed, load_secrets
from webhook_dedup.providers.schemes import (
    AnyOf,
    FetchingScheme,
    SealingScheme,
    SharedToken,
    StandardWebhooks,
)

CODES = {
    "missing_signature",
    "malformed_signature",
    "signature_mismatch",
    "signature_too_old",
    "signature_in_future",
    "missing_url",
    "key_unavailable",
}
COVERS_NOTHING = {"token", "bearer", "query", "basic", "graph", "mailgun-json", "mailgun-form"}
SIGNS_URL = {"twilio-form", "twilio-json", "url-hmac", "hubspot-v3", "hubspot-v2", "mandrill"}
IN_BODY = {"sns-fetched", "sns-v1-pinned", "mailgun-json", "mailgun-form", "adyen-items", "graph"}
TIMED = {
    name for name, case in CASES.items() if getattr(case.scheme, "tolerance", None) is not None
} - {"hubspot-v2", "hubspot-v1"}
FETCHING = {"sns-fetched", "paypal-fetched", "plaid-fetched"}


@pytest.fixture(params=CASES.items(), ids=lambda item: item[0])
def named(request):
    return request.param


def refusal(scheme, message, secrets, now=NOW):
    with pytest.raises(SignatureError) as caught:
        scheme.verify(message, secrets, now)
    assert caught.value.code in CODES
    assert caught.value.status == 401
    return caught.value


def changed(message, **parts):
    kept = {"headers": message.headers, "body": message.body, "url": message.url}
    kept |= {"query": message.query, **parts}
    return Parsed(kept.pop("headers"), kept.pop("body"), **kept)


def test_what_is_signed_verifies(named):
    """A delivery signed here is accepted here, now and a little earlier and later."""
    _, case = named
    for now in (NOW - 4, NOW, NOW + 4):
        case.scheme.verify(case.message(), case.secrets, now)


def test_any_one_of_several_secrets_will_do(named):
    """The right secret counts in any place, and wrong ones beside it do no harm."""
    _, case = named
    message, right = case.message(), case.receiver or case.secret
    for secrets in ([case.other, right], [right, case.other], (case.other, right, case.other)):
        case.scheme.verify(message, load_secrets(case.scheme, secrets), NOW)


def test_wrong_secrets_refuse(named):
    """One wrong secret or several refuse the delivery for that reason."""
    _, case = named
    for secrets in (case.other, [case.other, case.other]):
        keys = load_secrets(case.scheme, secrets)
        assert refusal(case.scheme, case.message(), keys).code == "signature_mismatch"


def test_unsigned_deliveries_are_told_so(named):
    """Without signature headers, or with an empty body where that is signed, it is missing."""
    name, case = named
    bare = case.body if name in IN_BODY else case.message().body
    message = Parsed([(b"Content-Type", b"application/json")], bare, url=case.url)
    if name.startswith("mailgun"):
        message = Parsed([], b"{}")
    if name.startswith("sns"):
        sealed = json.loads(case.message().body)
        message = Parsed([], json.dumps({**sealed, "Signature": None}).encode())
    assert refusal(case.scheme, message, case.secrets).code == "missing_signature"


def test_another_body_is_refused(named):
    """A signature counts for the bytes that were signed, where the scheme covers them."""
    name, case = named
    if name in COVERS_NOTHING | {"any-of"}:
        return
    message = case.message()
    other = message.body.replace(b"1", b"2", 1)
    assert other != message.body
    refusal(case.scheme, changed(message, body=other), case.secrets)


def test_signed_urls_must_be_known(named):
    """A scheme that signs the URL says how to configure it, and refuses another one."""
    name, case = named
    message = case.message()
    if name not in SIGNS_URL:
        case.scheme.verify(changed(message, url=None), case.secrets, NOW)
        return
    unknown = refusal(case.scheme, changed(message, url=None), case.secrets)
    assert unknown.code == "missing_url"
    assert "public_url" in unknown.detail
    other = changed(message, url=message.url.replace("hooks", "other"))
    assert refusal(case.scheme, other, case.secrets).code == "signature_mismatch"


def test_signed_times_are_bounded_both_ways(named):
    """What was signed too long ago or too far ahead is refused; without a tolerance it is not."""
    name, case = named
    message, far = case.message(), 7 * 86_400
    if name == "any-of":
        return
    if name not in TIMED:
        case.scheme.verify(message, case.secrets, NOW + far)
        return
    assert refusal(case.scheme, message, case.secrets, NOW + far).code == "signature_too_old"
    assert refusal(case.scheme, message, case.secrets, NOW - far).code == "signature_in_future"
    edge = case.scheme.tolerance
    case.scheme.verify(message, case.secrets, NOW + edge)
    case.scheme.verify(message, case.secrets, NOW - edge)
    refusal(case.scheme, message, case.secrets, NOW + edge + 1)
    refusal(case.scheme, message, case.secrets, NOW - edge - 1)


@pytest.mark.parametrize("name", sorted(TIMED))
def test_the_tolerance_is_the_users(name):
    """A wider tolerance, or none, accepts what the default refuses."""
    case = CASES[name]
    for tolerance in (8 * 86_400, None):
        scheme = dataclasses.replace(case.scheme, tolerance=tolerance)
        scheme.verify(case.message(), case.secrets, NOW + 7 * 86_400)
    with pytest.raises(ConfigError, match="tolerance"):
        dataclasses.replace(case.scheme, tolerance=0)


def test_age_is_told_only_to_those_who_can_sign(named):
    """A delivery that is both forged and old is called forged."""
    name, case = named
    if name in TIMED:
        keys = (case.scheme.load_secret(case.other),)
        code = refusal(case.scheme, case.message(), keys, NOW + 7 * 86_400).code
        assert code == "signature_mismatch"


def test_different_signatures_at_once_are_malformed(named):
    """A header that comes twice with different values is refused, though one may be right."""
    name, case = named
    if name in IN_BODY or name == "query":
        return
    message = case.message()
    signature, value = message.headers[-1]
    for twice in ([(signature, b"0"), (signature, value)], [(signature, value), (signature, b"0")]):
        headers = [pair for pair in message.headers if pair[0] != signature] + twice
        code = refusal(case.scheme, changed(message, headers=headers), case.secrets).code
        assert code == "malformed_signature"


def test_huge_headers_are_not_looked_at(named):
    """A signature header beyond its bound is malformed, whatever is in it."""
    _, case = named
    message = case.message()
    for header, value in message.headers[len(case.headers) :]:
        if header == b"PAYPAL-CERT-URL":
            continue  # not looked at either, where the key is given
        huge = [(header, value + b" " + b"0" * 20_000)]
        headers = [pair for pair in message.headers if pair[0] != header] + huge
        code = refusal(case.scheme, changed(message, headers=headers), case.secrets).code
        assert code in ("malformed_signature", "signature_mismatch")


def test_refusals_quote_neither_secret_nor_signature(named):
    """What the sender is told helps nobody to forge."""
    _, case = named
    message = case.message()
    keys = (case.scheme.load_secret(case.other),)
    detail = refusal(case.scheme, message, keys).detail
    assert case.other not in detail.replace("the other", "")
    for _, value in message.headers[len(case.headers) :]:
        assert value.decode()[-12:] not in detail


@pytest.mark.parametrize("secret", ["", " \n", b"", None])
def test_blank_secrets_are_refused(named, secret):
    """A blank or absent secret is an error of configuration."""
    _, case = named
    with pytest.raises(ConfigError, match="secret"):
        case.scheme.load_secret(secret)


@pytest.mark.parametrize(
    ("name", "secret", "looks"),
    [
        ("standard", "plain text", "whsec_ and base64"),
        ("standard", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "put whsec_ before"),
        ("standard", "whsec_", "whsec_ and base64"),
        ("standard", "whsec_not base64!", "whsec_ and base64"),
        ("standard", "whpk_AAAA", "32 bytes"),
        ("standard", "whsk_AAAA", "32 bytes"),
        ("standard-text", "whsec_!", "whsec_ and base64"),
        ("hmac-base64-hex-key", "xyz", "hex"),
        ("adyen-items", "not hex", "hex"),
        ("adyen-items", "abc", "hex"),
        ("sendgrid", "AAAA", "P-256"),
        ("sendgrid", "ünïcode", "P-256"),
        ("discord", "ab" * 31, "64 hex digits"),
        ("discord", "cd" * 64, "64 hex digits"),
        ("discord", "not hex", "64 hex digits"),
        ("sns-fetched", "orders", "ARN"),
        ("sns-fetched", f"{TOPIC}\nno pem", "PEM"),
        ("paypal-fetched", "no id!", "id of the webhook"),
        ("plaid-jwk", "only-an-id", "client_id"),
        ("plaid-jwk", '{"kty": "RSA"}', "client_id"),
        ("plaid-jwk", '{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}', "client_id"),
        ("plaid-jwk", "{", "client_id"),
        ("basic", "user", "user:password"),
        ("basic", ":x", "user:password"),
    ],
)
def test_wrong_formats_are_named(name, secret, looks):
    """A secret in the format of another provider is refused at start-up, with the right format."""
    with pytest.raises(ConfigError, match=looks) as caught:
        CASES[name].scheme.load_secret(secret)
    assert len(secret) < 7 or secret not in str(caught.value)


@pytest.mark.parametrize("name", ["standard-v1a", "sendgrid", "discord", *sorted(FETCHING)])
def test_what_only_verifies_cannot_sign(name):
    """Signing with a public key, or the name of one, is an error that says what to give."""
    case = CASES[name]
    scheme, message = case.scheme, case.message()
    sign = scheme.seal if isinstance(scheme, SealingScheme) else scheme.sign
    with pytest.raises(ConfigError, match="give"):
        sign(message, case.secrets[0], NOW)


@pytest.mark.parametrize("name", ["standard-v1a", "sendgrid", "discord", "plaid-fetched"])
def test_a_private_key_verifies_too(name):
    """Tests and demonstrations get by with the one secret."""
    case = CASES[name]
    case.scheme.verify(case.message(), [case.scheme.load_secret(case.secret)], NOW)


def test_powers_are_told_by_protocol(named):
    """Who fetches and who seals can be asked."""
    name, case = named
    fetches = name.startswith(("sns", "paypal", "plaid"))
    seals = name in IN_BODY | {"adyen-header"}
    assert isinstance(case.scheme, FetchingScheme) is fetches
    assert isinstance(case.scheme, SealingScheme) is seals


def test_schemes_are_values(named):
    """A scheme is frozen and shows its options, never a key."""
    _, case = named
    with pytest.raises((dataclasses.FrozenInstanceError, AttributeError, TypeError)):
        case.scheme.anything = 1
    assert type(case.scheme).__name__ in repr(case.scheme)


def test_each_scheme_takes_the_secrets_in_its_format():
    """GitLab's two ways: a signing token, or a plain one."""
    scheme = AnyOf(StandardWebhooks(), SharedToken(header="X-Gitlab-Token"))
    keys = load_secrets(scheme, ["whsec_c2lnbmluZw==", "plain"])
    signed = scheme.sign(Parsed([], b"{}"), keys[0], NOW)
    plain = scheme.sign(Parsed([], b"{}"), keys[1], NOW)
    assert set(signed) == {"webhook-id", "webhook-timestamp", "webhook-signature"}
    assert plain == {"X-Gitlab-Token": "plain"}
    for headers in (signed, plain):
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        scheme.verify(Parsed(raw, b"{}"), keys, NOW)
    nothing = refusal(scheme, Parsed([], b"{}"), keys)
    assert nothing.code == "missing_signature"
    wrong = [(b"webhook-signature", b"v1,x"), (b"webhook-timestamp", b"1"), (b"webhook-id", b"i")]
    assert refusal(scheme, Parsed(wrong, b"{}"), keys).code == "malformed_signature"
    with pytest.raises(ConfigError):
        AnyOf()
