"""What schemes refuse and why, and that they verify what they sign."""

import base64
import hashlib
import hmac
import json

import pytest

from webhook_dedup import providers
from webhook_dedup.errors import ConfigError, SignatureError
from webhook_dedup.providers import HmacSignature, TimestampedHmac

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
    assert refusal(name, both) == "malformed_signature"
    assert refusal(name, both[::-1]) == "malformed_signature"


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
