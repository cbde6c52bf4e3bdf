"""Published signatures: each verifies as it is, and none with a single bit changed."""

import json
from pathlib import Path

import pytest

from webhook_dedup import providers
from webhook_dedup.errors import SignatureError
from webhook_dedup.providers import HmacSignature, Parsed, load_secrets, raw_headers

VECTORS = json.loads(Path(__file__).with_name("vectors.json").read_text())
SIGNED_AT = 1533204620.0
LEGACY = HmacSignature(header="X-Hub-Signature", algorithm="sha1", prefix="sha1=")


def verify(vector, *, secret=None, headers=None, body=None):
    preset = providers.find_preset(vector["provider"])
    scheme = LEGACY if "X-Hub-Signature" in vector["headers"] else preset.scheme
    message = Parsed(
        raw_headers(headers or vector["headers"]),
        vector["body"].encode() if body is None else body,
    )
    scheme.verify(message, load_secrets(scheme, secret or vector["secret"]), SIGNED_AT)


def flips(data, start=0, end=None):
    for index in range(start, len(data) if end is None else end):
        for bit in range(8):
            changed = bytearray(data)
            changed[index] ^= 1 << bit
            yield bytes(changed)


@pytest.fixture(params=VECTORS, ids=lambda vector: vector["id"])
def vector(request):
    return request.param


def test_a_published_signature_verifies(vector):
    """A delivery that the provider or its library published is accepted."""
    verify(vector)


def test_the_public_function_takes_current_vectors():
    """``verify`` accepts them by the provider's name."""
    current = [vector for vector in VECTORS if "X-Hub-Signature" not in vector["headers"]]
    assert len(current) == 4
    for vector in current:
        providers.verify(
            vector["provider"],
            secret=vector["secret"],
            headers=vector["headers"],
            body=vector["body"].encode(),
            now=SIGNED_AT,
        )


def test_no_changed_bit_in_the_body_verifies(vector):
    """Each bit of the body counts."""
    for body in flips(vector["body"].encode()):
        with pytest.raises(SignatureError, match="does not match"):
            verify(vector, body=body)


def test_no_changed_bit_in_the_secret_verifies(vector):
    """Each bit of the secret counts."""
    for secret in flips(vector["secret"].encode()):
        with pytest.raises(SignatureError, match="does not match"):
            verify(vector, secret=secret)


def test_no_changed_bit_in_the_signature_verifies(vector):
    """Each bit of the header counts, time and prefix included, save what schemes ignore."""
    ((name, value),) = vector["headers"].items()
    counted = value.encode().partition(b",v0=")[0]
    for changed in flips(counted):
        with pytest.raises(SignatureError):
            verify(vector, headers=[(name, changed)])


def test_ignored_items_do_not_count():
    """Stripe's v0 may hold anything."""
    (vector,) = (vector for vector in VECTORS if vector["provider"] == "stripe")
    header = vector["headers"]["Stripe-Signature"]
    verify(vector, headers={"stripe-signature": header.partition("v0=")[0] + "v0=?,v9"})


def test_one_of_several_secrets_is_enough(vector):
    """Whichever place the right secret has among several, the delivery is accepted."""
    for secrets in (["other", vector["secret"]], [vector["secret"], b"other"]):
        verify(vector, secret=secrets)


def test_several_wrong_secrets_refuse(vector):
    """Several wrong secrets are as wrong as one."""
    with pytest.raises(SignatureError) as caught:
        verify(vector, secret=["other", "another"])
    assert (caught.value.status, caught.value.code) == (401, "signature_mismatch")
