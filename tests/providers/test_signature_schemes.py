"""What schemes refuse and why, and that they verify what they sign."""

import base64
import gzip
import hashlib
import hmac
import json

import pytest

from webhook_dedup import providers
from webhook_dedup.errors import ConfigError, SignatureError
from webhook_dedup.providers import HmacSignature, TimestampedHmac
from webhook_dedup.providers.samples import sample_delivery, sample_secret
from webhook_dedup.providers.schemes import (
    HeaderTimedHmac,
    HubSpotSignature,
    MailgunSignature,
    MandrillSignature,
    QueryToken,
    SnsSignature,
    StandardWebhooks,
    TwilioSignature,
)

NOW = 1_800_000_000.0
BODY = b'{"id": "evt_1"}'
NAMES = ["generic", "github", "stripe"]
HEADERS = {
    "generic": "X-Signature",
    "github": "X-Hub-Signature-256",
    "stripe": "Stripe-Signature",
}


def signed(name, secret="s3cret", body=BODY, now=NOW):
    return providers.sign(name, secret=secret, body=body, now=now)


def refusal(name, headers, *, secret="s3cret", body=BODY, now=NOW):
    with pytest.raises(SignatureError) as caught:
        providers.verify(name, secret=secret, headers=headers, body=body, now=now)
    return caught.value.code


def stripe(value):
    return [("Stripe-Signature", value)]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_signed_verifies(name):
    """A signature made here is accepted here, over any bytes."""
    for body in (b"", BODY, bytes(range(256)), "ünïcode".encode()):
        headers = signed(name, body=body)
        providers.verify(name, secret="s3cret", headers=headers, body=body, now=NOW)


@pytest.mark.parametrize("name", NAMES)
def test_headers_come_in_any_shape(name):
    """Mappings and pairs, text and bytes, any letter case and surrounding blanks are the same."""
    ((header, value),) = signed(name).items()
    for headers in (
        {header.upper(): value},
        [(header.lower(), f" {value}\t")],
        [(header.lower().encode(), value.encode())],
        [[header.encode(), value.encode()], (b"host", b"example.org")],
        iter([(header, value), (header, value)]),
    ):
        providers.verify(name, secret=[b"s3cret"], headers=headers, body=BODY, now=NOW)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_signature_is_named(name):
    """Without the header, or with a blank one, the code says that it is missing."""
    assert refusal(name, {}) == "missing_signature"
    assert refusal(name, {HEADERS[name]: " \t"}) == "missing_signature"


@pytest.mark.parametrize("name", NAMES)
def test_differing_signatures_are_malformed(name):
    """A right signature does not save a delivery that brings another one beside it."""
    both = [*signed(name).items(), *signed(name, secret="other").items()]
    blank = [*signed(name).items(), (HEADERS[name], " ")]
    for headers in (both, both[::-1], blank, blank[::-1]):
        assert refusal(name, headers) == "malformed_signature"


@pytest.mark.parametrize("name", NAMES)
def test_a_json_body_written_again_is_refused(name):
    """The signature covers bytes, not meaning."""
    again = json.dumps(json.loads(BODY), separators=(",", ":")).encode()
    assert refusal(name, signed(name), body=again) == "signature_mismatch"


@pytest.mark.parametrize("name", NAMES)
def test_refusals_quote_neither_secret_nor_signature(name):
    """What the sender is told helps nobody to forge."""
    ((header, right),) = signed(name).items()
    digest = right.rpartition("=")[2]
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    for headers in ({}, {header: "x"}, {header: wrong}):
        with pytest.raises(SignatureError) as caught:
            providers.verify(name, secret="s3cret", headers=headers, body=BODY, now=NOW)
        assert "s3cret" not in caught.value.detail
        assert digest[:8] not in caught.value.detail


@pytest.mark.parametrize(
    "value",
    [
        "sha256=",
        "sha1=" + "0" * 40,
        "0" * 64,
        "SHA256=" + "0" * 64,
        "sha256=" + "0" * 63,
        "sha256=" + "0" * 65,
        "sha256=" + "A" * 64,
        "sha256=" + "g" * 64,
        "sha256=sha256=" + "0" * 64,
        "sha256=" + "\xff" * 64,
        "sha256=" + "٣" * 64,
        "sha256=" + "0" * 64 + ", sha256=" + "0" * 64,
        "x" * 1_000_000,
    ],
)
def test_malformed_plain_signatures(value):
    """Whatever is no prefixed digest is called malformed."""
    assert refusal("github", {"X-Hub-Signature-256": value}) == "malformed_signature"


def test_the_generic_prefix_is_optional():
    """The generic scheme takes a digest with and without ``sha256=``."""
    digest = hmac.new(b"s3cret", BODY, "sha256").hexdigest()
    for value in (digest, f"sha256={digest}"):
        providers.verify("generic", secret="s3cret", headers={"X-Signature": value}, body=BODY)
    assert refusal("generic", {"X-Signature": f"sha1={digest}"}) == "malformed_signature"


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512"])
def test_a_base64_digest_verifies(algorithm):
    """Encoding and algorithm are the row's choice."""
    scheme = HmacSignature(header="X-Mac", algorithm=algorithm, encoding="base64")
    digest = base64.b64encode(hmac.new(b"k", BODY, getattr(hashlib, algorithm)).digest())
    message = providers.Parsed([(b"x-mac", digest)], BODY)
    scheme.verify(message, [b"k"], NOW)
    assert scheme.sign(message, b"k", NOW) == {"X-Mac": digest.decode()}
    with pytest.raises(SignatureError, match="does not match"):
        scheme.verify(message, [b"K"], NOW)


DIGEST = "0" * 64


@pytest.mark.parametrize(
    "value",
    [
        "t",
        "t=",
        ",",
        "v1=" + DIGEST,
        f"t=1800000000,v0={DIGEST}",
        f"t=1800000000,v1={DIGEST[:-1]}",
        f"t=1800000000,v1={'A' * 64}",
        f"t=1800000000,t=1800000001,v1={DIGEST}",
        f"t=1800000000,t=1800000000,v1={DIGEST}",
        f"t=NaN,v1={DIGEST}",
        f"t=Infinity,v1={DIGEST}",
        f"t=-1,v1={DIGEST}",
        f"t=+1,v1={DIGEST}",
        f"t= 1800000000,v1={DIGEST}",
        f"t=1_800_000_000,v1={DIGEST}",
        f"t=1.8e9,v1={DIGEST}",
        f"t=0x1,v1={DIGEST}",
        f"t={'1' + '0' * 400},v1={DIGEST}",
        f"t=١٨٠٠٠٠٠٠٠٠,v1={DIGEST}",
        f"t=\xb2,v1={DIGEST}",
        f"t={'9' * 1_000_000},v1={DIGEST}",
        "=" * 100_000,
        "," * 100_000,
    ],
)
def test_malformed_timestamped_signatures(value):
    """Whatever lacks one plain time and one digest is called malformed."""
    assert refusal("stripe", stripe(value)) == "malformed_signature"


def candidates(count):
    return f"t={NOW:.0f}," + ",".join(f"v1={index:064x}" for index in range(count))


def test_the_right_one_of_many_candidates_is_found():
    """The right signature counts behind two hundred wrong ones, and wrong ones stay wrong."""
    wrong, right = candidates(200), signed("stripe")["Stripe-Signature"].partition(",")[2]
    assert refusal("stripe", stripe(wrong)) == "signature_mismatch"
    providers.verify(
        "stripe", secret="s3cret", headers=stripe(f"{wrong},{right}"), body=BODY, now=NOW
    )


def test_ten_thousand_candidates_are_not_looked_at():
    """A signature header has a length beyond which nothing in it is compared."""
    assert refusal("stripe", stripe(candidates(10_000))) == "malformed_signature"


def test_every_candidate_meets_every_secret(monkeypatch):
    """A match does not end the comparing, so that its place cannot be timed."""
    calls = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: calls.append(a) or compare(a, b))
    right = signed("stripe")["Stripe-Signature"]
    headers = stripe(f"{right},v1={DIGEST},v1={DIGEST[:-1]}1")
    providers.verify(
        "stripe", secret=["s3cret", "old", "older"], headers=headers, body=BODY, now=NOW
    )
    assert len(calls) == 9


@pytest.mark.parametrize(
    ("offset", "code"), [(301, "signature_too_old"), (-301, "signature_in_future")]
)
def test_time_is_bounded_both_ways(offset, code):
    """A right signature is refused more than 300 seconds from its time, and not before."""
    headers = signed("stripe")
    providers.verify(
        "stripe", secret="s3cret", headers=headers, body=BODY, now=NOW + offset - offset / 301
    )
    assert refusal("stripe", headers, now=NOW + offset) == code


def test_age_is_told_only_to_those_who_can_sign():
    """A wrong and old signature is called wrong."""
    headers = signed("stripe", secret="other")
    assert refusal("stripe", headers, now=NOW + 9_999) == "signature_mismatch"


def test_the_clock_is_asked_when_no_time_is_given():
    """``sign`` and ``verify`` agree on now."""
    headers = providers.sign("stripe", secret="s3cret", body=BODY)
    providers.verify("stripe", secret="s3cret", headers=headers, body=BODY)


def test_another_layout_is_a_row_and_no_code():
    """Separator, keys and joiner are fields, so ``ts=…;h1=…`` needs no class of its own."""
    scheme = TimestampedHmac(
        header="P-Sig", time_key="ts", signature_key="h1", item_separator=";", joiner=":"
    )
    message = providers.Parsed([], BODY)
    digest = hmac.new(b"k", b"1800000000:" + BODY, "sha256").hexdigest()
    headers = scheme.sign(message, b"k", NOW)
    assert headers == {"P-Sig": f"ts=1800000000;h1={digest}"}
    scheme.verify(providers.Parsed(providers.raw_headers(headers), BODY), [b"k"], NOW)


@pytest.mark.parametrize(
    "secret", ["", " \n", b"", b"\t", None, [], (), [""], ["good", " "], [None]]
)
def test_unusable_secrets_are_refused(secret):
    """A blank or absent secret is an error of configuration, never one that signs."""
    with pytest.raises(ConfigError, match="secret"):
        providers.verify("github", secret=secret, headers={}, body=b"")


def test_a_secret_that_is_no_text_is_refused():
    """Text that UTF-8 cannot carry must be given as bytes."""
    with pytest.raises(ConfigError, match="as bytes"):
        providers.sign("github", secret="\udcff", body=b"")


@pytest.mark.parametrize(
    "options",
    [
        {"header": ""},
        {"header": "X Signature"},
        {"header": "X-Sig", "algorithm": "md5"},
        {"header": "X-Sig", "encoding": "binary"},
    ],
)
def test_impossible_schemes_are_refused(options):
    """A scheme says at construction that it cannot work."""
    with pytest.raises(ConfigError):
        HmacSignature(**options)


@pytest.mark.parametrize("tolerance", [0, -1, float("nan")])
def test_impossible_tolerances_are_refused(tolerance):
    """A tolerance is more than nothing."""
    with pytest.raises(ConfigError, match="tolerance"):
        TimestampedHmac(header="X-Sig", tolerance=tolerance)


TWILIO, TOKEN, URL = TwilioSignature(), (b"token",), "https://example.com/hooks?a=1"


def twilio_message(body, kind, url=URL):
    """Return a message that bears the signature of the bare URL."""
    signature = TWILIO.sign(providers.Parsed([], b"", url=url), TOKEN[0], NOW)
    headers = {**signature, "Content-Type": kind}
    return providers.Parsed(providers.raw_headers(headers), body, url=url)


FORM = "application/x-www-form-urlencoded"
FILE = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\nevil\r\n--b--\r\n'


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"a": 1}', "application/json"),
        (b"&&&", FORM),
        (FILE, "multipart/form-data; boundary=b"),
        (b"text", ""),
    ],
)
def test_twilio_bodies_that_no_signature_covers_are_refused(body, kind):
    """The signature of a bare URL, as GET requests have it, admits no body."""
    TWILIO.verify(twilio_message(b"", ""), TOKEN, NOW)
    with pytest.raises(SignatureError, match="bodySHA256"):
        TWILIO.verify(twilio_message(body, kind), TOKEN, NOW)


def test_a_body_that_twilio_signed_cannot_be_left_out():
    """The hash in the URL counts for an empty body, too."""
    url = f"{URL}&bodySHA256={hashlib.sha256(BODY).hexdigest()}"
    signature = TWILIO.sign(providers.Parsed([], BODY, url=url), TOKEN[0], NOW)
    headers = providers.raw_headers(signature)
    TWILIO.verify(providers.Parsed(headers, BODY, url=url), TOKEN, NOW)
    for body in (b"", BODY + b" "):
        with pytest.raises(SignatureError, match="bodySHA256"):
            TWILIO.verify(providers.Parsed(headers, body, url=url), TOKEN, NOW)


def test_mandrill_covers_forms_only():
    """Files beside the fields of a multipart form would be covered by nothing."""
    scheme = MandrillSignature()
    message = providers.Parsed(
        [(b"X-Mandrill-Signature", b"0" * 27 + b"="), (b"Content-Type", b"multipart/form-data")],
        FILE,
        url=URL,
    )
    with pytest.raises(SignatureError, match="no such form"):
        scheme.verify(message, [b"k"], NOW)


def svix_headers(**changes):
    signature = StandardWebhooks(prefix="svix").sign(providers.Parsed([], BODY), b"whsec_k", NOW)
    return {**signature, **{name.replace("_", "-"): value for name, value in changes.items()}}


def test_svix_names_may_be_either_but_not_both_ways():
    """An unsigned ``svix-id`` beside a signed ``webhook-id`` cannot make an old event a new one."""
    scheme, key = StandardWebhooks(prefix="svix"), [b"whsec_k"]
    renamed = {name.replace("svix", "webhook"): value for name, value in svix_headers().items()}
    for headers in (svix_headers(), renamed, {**svix_headers(), **renamed}):
        scheme.verify(providers.Parsed(providers.raw_headers(headers), BODY), key, NOW)
    for headers in (
        {**renamed, "svix-id": "other"},
        {**svix_headers(), "webhook-id": "other"},
        {**renamed, "svix-id": ""},
        [*svix_headers().items(), ("svix-id", " ")],
    ):
        with pytest.raises(SignatureError, match="different values"):
            scheme.verify(providers.Parsed(providers.raw_headers(headers), BODY), key, NOW)
    with pytest.raises(SignatureError, match="no webhook-"):
        StandardWebhooks().verify(
            providers.Parsed(providers.raw_headers(svix_headers()), BODY), key, NOW
        )


def test_public_key_signatures_are_counted():
    """A header full of v1a signatures is refused before any is checked."""
    many = " ".join(["v1a," + base64.b64encode(bytes(64)).decode()] * 9)
    scheme, key = StandardWebhooks(prefix="svix"), [b"whsec_k"]
    right = svix_headers()["svix-signature"]
    message = providers.Parsed(providers.raw_headers(svix_headers(svix_signature=many)), BODY)
    with pytest.raises(SignatureError, match="more than 8"):
        scheme.verify(message, [b"whpk_" + bytes(32)], NOW)
    both = providers.raw_headers(svix_headers(svix_signature=f"{many} v1a,odd {right}"))
    scheme.verify(providers.Parsed(both, BODY), key, NOW)


def test_an_odd_public_key_signature_beside_a_right_one_does_no_harm():
    """Of several signatures each is looked at for itself."""
    scheme, seed = StandardWebhooks(), b"whsk_" + bytes(32)
    signature = scheme.sign(providers.Parsed([], BODY), seed, NOW)
    listed = f"v1a,odd v1a, v1,odd v9 {signature['webhook-signature']}"
    headers = providers.raw_headers({**signature, "webhook-signature": listed})
    scheme.verify(providers.Parsed(headers, BODY), [seed], NOW)


def test_a_mailgun_form_is_no_json():
    """Verified as a form and read as JSON, one captured signature would pass under any id."""
    scheme = MailgunSignature()
    proof = scheme.seal(providers.Parsed([(b"Content-Type", FORM.encode())], b""), b"k", NOW)
    both = b'{"signature": {"token": "new"}, "x": "&' + proof + b'&"}'
    for body in (both, b"\xef\xbb\xbf" + both):
        with pytest.raises(SignatureError, match="at once"):
            scheme.verify(providers.Parsed([(b"Content-Type", FORM.encode())], body), [b"k"], NOW)
    scheme.verify(providers.Parsed([(b"Content-Type", FORM.encode())], proof), [b"k"], NOW)


@pytest.mark.parametrize("versions", [(), ("3",), ("1", "x")])
def test_sns_knows_two_versions(versions):
    """A version that does not exist is an error of configuration."""
    with pytest.raises(ConfigError, match="versions"):
        SnsSignature(versions=versions)


def hubspot_headers(version):
    scheme = HubSpotSignature(versions=(version,))
    return scheme.sign(providers.Parsed([], BODY, url=URL), b"k", NOW)


def test_hubspot_takes_no_older_version_unasked():
    """An old signature, which is good for ever, does not pass for one of version 3."""
    old = providers.Parsed(providers.raw_headers(hubspot_headers("v1")), BODY, url=URL)
    with pytest.raises(SignatureError, match="no X-HubSpot-Signature-v3"):
        HubSpotSignature().verify(old, [b"k"], NOW)
    HubSpotSignature(versions=("v3", "v1")).verify(old, [b"k"], NOW)


def test_hubspot_counts_version_3_where_it_is_sent():
    """A right signature of version 1 does not save a wrong or old one of version 3."""
    both = {**hubspot_headers("v1"), **hubspot_headers("v3")}
    scheme = HubSpotSignature(versions=("v3", "v2", "v1"))
    message = providers.Parsed(providers.raw_headers(both), BODY, url=URL)
    scheme.verify(message, [b"k"], NOW)
    with pytest.raises(SignatureError, match="ago"):
        scheme.verify(message, [b"k"], NOW + 301)


def test_hubspot_signs_urls_with_some_escapes_undone():
    """Of the URL's escapes those that HubSpot names are undone, in either letter case."""
    url = "https://example.com/a%2fb?x=%3A%20%40%26"
    decoded = "https://example.com/a/b?x=:%20@%26"
    signature = HubSpotSignature().sign(providers.Parsed([], BODY, url=decoded), b"k", NOW)
    headers = providers.raw_headers(signature)
    for one in (url, decoded):
        HubSpotSignature().verify(providers.Parsed(headers, BODY, url=one), [b"k"], NOW)


@pytest.mark.parametrize("versions", [(), ("v4",), ("v3", "x")])
def test_hubspot_knows_three_versions(versions):
    """A version that does not exist is an error of configuration."""
    with pytest.raises(ConfigError, match="v1, v2, v3"):
        HubSpotSignature(versions=versions)


@pytest.mark.parametrize("template", ["v0:{body}", "{time}", "{time}{time}{body}", ""])
def test_a_template_holds_time_and_body(template):
    """A signed text without time or body is an error of configuration."""
    with pytest.raises(ConfigError, match="template"):
        HeaderTimedHmac(header="X-Sig", time_header="X-Time", template=template)


def test_templates_may_end_with_the_time():
    """Body and time come in either order, and braces in the body mean nothing."""
    scheme = HeaderTimedHmac(
        header="X-Sig", time_header="X-Time", template="{body}|{time}", prefix="", encoding="base64"
    )
    body = b"{time}{body}"
    expected = hmac.new(b"k", body + b"|1800000000", "sha256").digest()
    headers = scheme.sign(providers.Parsed([], body), b"k", NOW)
    assert headers["X-Sig"] == base64.b64encode(expected).decode()
    scheme.verify(providers.Parsed(providers.raw_headers(headers), body), [b"k"], NOW)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (b"access_token=t&access_token=t&a=1", None),
        (b"access%5Ftoken=%74", None),
        (b"access_token=t&access_token=x", "malformed_signature"),
        (b"access_token=x&access_token=t", "malformed_signature"),
        (b"access_token=", "signature_mismatch"),
        (b"token=t", "missing_signature"),
        (b"access_token=t&" + b"a" * 20_000, "malformed_signature"),
    ],
)
def test_a_token_in_the_query_comes_once(query, code):
    """A token in the URL is unquoted, and refused where another one stands beside it."""
    message = providers.Parsed([], BODY, query=query)
    if code is None:
        QueryToken().verify(message, [b"t"], NOW)
        return
    with pytest.raises(SignatureError) as caught:
        QueryToken().verify(message, [b"t"], NOW)
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["adyen", "mailgun", "microsoft-graph", "sns"])
def test_a_packed_body_that_holds_its_signature_is_not_unpacked(name):
    """Sixteen KiB that anybody may send do not become half a GiB before they are refused."""
    made = sample_secret(name)
    sample = sample_delivery(name, secret=made.signing)
    packed = {**sample.headers, "Content-Encoding": "gzip"}
    code = refusal(name, packed, secret=made.verifying, body=gzip.compress(sample.body))
    assert code == "malformed_signature"


ADYEN_KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
PAID = {
    "pspReference": "7914073381342284",
    "merchantAccountCode": "Shop",
    "merchantReference": "order:7",
    "amount": {"value": 1130, "currency": "EUR"},
    "eventCode": "AUTHORISATION",
    "success": "true",
}


def adyen(item):
    return json.dumps({"notificationItems": [{"NotificationRequestItem": item}]}).encode()


@pytest.mark.parametrize(
    "changed",
    [
        {"amount": None, "amount.value": 1130, "amount.currency": "EUR"},
        {"amount": {"value": 1130}, "amount.currency": "EUR"},
        {
            "pspReference": "7914073381342284:",
            "merchantAccountCode": "order",
            "originalReference": "Shop",
            "merchantReference": "7",
        },
        {
            "merchantAccountCode": "Shop",
            "merchantReference": "order",
            "amount": {"value": "7:1130", "currency": "EUR"},
        },
    ],
)
def test_other_values_under_one_signature_of_adyen_are_refused(changed):
    """A signature cannot be moved to an item that says something else in the same letters."""
    sealed = providers.seal("adyen", secret=ADYEN_KEY, body=adyen(PAID))
    providers.verify("adyen", secret=ADYEN_KEY, headers=[], body=sealed)
    [entry] = json.loads(sealed)["notificationItems"]
    item = {**entry["NotificationRequestItem"], **changed}
    code = refusal("adyen", [], secret=ADYEN_KEY, body=adyen(item))
    assert code in {"malformed_signature", "signature_mismatch"}
