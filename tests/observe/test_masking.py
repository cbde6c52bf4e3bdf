"""Values of secret headers and fields are not kept; what tells deliveries apart is."""

import pytest

from webhook_dedup.observe.masking import MASK, masked_headers, masked_query

SECRET = """
    Authorization Proxy-Authorization Cookie Set-Cookie X-Auth-Token X-Gitlab-Token X-Signature
    Stripe-Signature X-Hub-Signature-256 Paypal-Transmission-Sig X-Shopify-Hmac-Sha256 X-Sign sign
    sig X-Client-Secret client_secret password passwd pwd db_pwd passphrase user_pass X-Jwt
    access_token X-Api-Key X-Api_Key api_key apikey apiKey access_key X-Access-Key key code
    private_key privateKey Private-Key aeg-sas-key X-Functions-Key Ocp-Apim-Subscription-Key
    key[] credentials X-Telegram-Bot-Api-Secret-Token Plaid-Verification
"""
SEEN = """
    Idempotency-Key X-Idempotency-Key Idempotency_Key idempotencyKey I-Twilio-Idempotency-Token
    X-Event-Key X-Event-Name Webhook-Id X-GitHub-Delivery X-Forwarded-For User-Agent Host
    Content-Type keyboard zip-code status_code encoding design signal compass passenger topic
    X-Okta-Verification-Challenge
"""


@pytest.mark.parametrize("name", SECRET.split())
def test_secrets_are_masked(name):
    """Names that sound secret hide their values, in headers and in queries."""
    raw = name.encode()
    assert masked_headers([(raw, b"hush"), (raw.upper(), b"hush")]) == (
        (name, MASK),
        (name.upper(), MASK),
    )
    assert masked_query(b"a=b&" + raw + b"=hush&c") == f"a=b&{name}={MASK}&c"


@pytest.mark.parametrize("name", SEEN.split())
def test_what_is_no_secret_is_seen(name):
    """Names by which deliveries are told apart, and harmless ones, show their values."""
    raw = name.encode()
    assert masked_headers([(raw, b"seen")]) == ((name, "seen"),)
    assert masked_query(raw + b"=seen") == f"{name}=seen"


def test_encoded_names_are_no_disguise():
    """A field of a query is masked however its name was written."""
    assert masked_query(b"api%5Fkey=hush&%74oken=hush") == f"api%5Fkey={MASK}&%74oken={MASK}"
