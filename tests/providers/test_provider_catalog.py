"""Rows of the catalog, finding one, and the README's table of them."""

import contextlib
import dataclasses
import datetime as dt
from pathlib import Path

import pytest

from webhook_dedup import providers
from webhook_dedup.errors import ConfigError, SignatureError
from webhook_dedup.providers import PRESETS, FirstOf, Preset, find_preset, load_secrets
from webhook_dedup.providers.described import expression_text, handshake_text, scheme_text
from webhook_dedup.providers.samples import SAMPLES, sample_delivery, sample_secret
from webhook_dedup.providers.schemes import AnyOf, HmacSignature, StandardWebhooks
from webhook_dedup.providers.table import rewritten

README = Path(__file__).parents[2] / "README.md"
ROWS = list(PRESETS.values())
NAMES = {
    *("standard-webhooks", "svix", "clerk", "resend", "agentmail", "openai", "stripe", "github"),
    *("gitlab", "slack", "slack-commands", "shopify", "twilio", "nylas", "sendgrid", "mailgun"),
    *("postmark", "paddle", "paypal", "square", "adyen", "hubspot", "linear", "discord"),
    *("discord-events", "zoom", "intercom", "calendly", "telegram", "meta", "microsoft-graph"),
    *("sns", "cloudevents", "plaid", "okta", "typeform", "mandrill", "mailchimp", "bitbucket"),
    *("jira", "sentry", "vercel", "coinbase", "razorpay", "lemonsqueezy", "generic"),
}
# What a row must not be keyed on, each for the reason that its notes give.
TRAPS = {
    "linear": "webhookId",
    "gitlab": "X-Gitlab-Event-UUID",
    "bitbucket": "X-Hook-UUID",
    "sentry": "Request-ID",
    "paddle": "notification_id",
    "shopify": "X-Shopify-Event-Id",
    "sendgrid": "sg_message_id",
    "nylas": "data.object.id",
    "okta": "eventId",
}


def rows(test):
    return pytest.mark.parametrize("preset", ROWS, ids=lambda preset: preset.name)(test)


def test_every_provider_has_a_row_and_a_sample():
    """No provider is missing, and none has come unnoticed."""
    assert set(PRESETS) == NAMES
    assert set(SAMPLES) == NAMES


@rows
def test_each_row_is_usable(preset):
    """Expressions compile, the suggested TTL outlives retries, and the facts have their source."""
    for expression in (preset.event_id, preset.event_type, preset.occurred_at, preset.subject):
        if expression is not None:
            providers.compile_extractor(expression)
    if preset.items is not None:
        providers.compile_items(preset.items)
        providers.compile_subset(preset.items)
    assert find_preset(preset.name) is preset
    assert preset.remember > preset.horizon
    assert preset.docs.startswith("https://") or preset.name == "generic"
    assert preset.checked <= dt.date.today()  # noqa: DTZ011 - a row's day has no zone either


@rows
def test_each_row_is_complete(preset):
    """A row has an id, a scheme and the look of its secret, and admits what is not known."""
    assert preset.scheme is not None
    assert preset.secret_format
    assert preset.name == "generic" or (preset.event_id and preset.event_type)
    sure = {"discord", "generic", "razorpay"}
    assert preset.unverified or preset.name in sure
    assert preset.notes or preset.name in {"generic", "vercel"}
    assert 200 <= preset.ack_status < 300
    assert preset.retry_status in {429, 503}  # a 4xx ends the retries of several providers


@rows
def test_rows_have_words(preset):
    """Each scheme, handshake and expression can be told in one line for people."""
    for text in (
        scheme_text(preset.scheme),
        handshake_text(preset.handshake),
        expression_text(preset.event_id),
        expression_text(preset.items),
    ):
        assert "\n" not in text
        assert " object at 0x" not in text
        assert text != type(preset.scheme).__name__
        assert text != type(preset.handshake).__name__


@pytest.mark.parametrize(("name", "trap"), TRAPS.items())
def test_the_obvious_id_that_is_wrong(name, trap):
    """A row avoids the id that is constant, shared or new with every attempt, and says so."""
    preset = find_preset(name)
    assert trap not in expression_text(preset.event_id).replace("sg_event_id", "")
    assert any(trap in note for note in preset.notes)


@pytest.mark.parametrize("name", sorted(NAMES - {"generic"}))
def test_unsigned_ids_are_admitted(name):
    """A row whose key has a header in it that the signature leaves out says so."""
    made, preset = sample_secret(name), find_preset(name)
    sample = sample_delivery(name, secret=made.signing, url="https://example.com/hooks")
    for header in _headers_in(preset.event_id):
        kept = {k: v for k, v in sample.headers.items() if k.lower() != header.lower()}
        forged = {**kept, header: "forged"}
        with contextlib.suppress(SignatureError):
            providers.verify(
                name, secret=made.verifying, headers=forged, body=sample.body, url=sample.url
            )
            assert any("not signed" in note or "is signed" in note for note in preset.notes)


def _headers_in(expression):
    if isinstance(expression, (tuple, FirstOf)):
        parts = expression.choices if isinstance(expression, FirstOf) else expression
        return [header for part in parts for header in _headers_in(part)]
    text = str(expression)
    return [text.removeprefix("header:").rstrip("?")] if text.startswith("header:") else []


@pytest.mark.parametrize("name", ["twilio", "discord", "slack-commands", "telegram"])
def test_replies_that_are_the_product(name):
    """Where the sender uses the reply, the handler makes it before the event counts."""
    assert find_preset(name).ack == "handled"
    assert find_preset("slack").ack == "first"


@pytest.mark.parametrize(
    "name",
    [
        *("twilio", "postmark", "zoom", "calendly", "plaid", "sentry", "discord-events"),
        *("mailchimp", "meta", "shopify"),
    ],
)
def test_ambiguous_keys_are_admitted(name):
    """A row whose key may take two events for one, or one for two, says so."""
    assert any("mbiguous" in note for note in find_preset(name).notes)


def test_stripe_and_github_facts():
    """The facts that users meet first."""
    stripe, github = find_preset("stripe"), find_preset("github")
    assert (stripe.event_id, stripe.horizon, stripe.remember) == ("id", 259_200, 345_600)
    assert (github.event_id, github.horizon) == ("header:X-GitHub-Delivery", 0)
    assert github.max_body == 25 * 1024 * 1024
    assert (stripe.ack, stripe.ack_status, stripe.retry_status) == ("first", 200, 503)
    assert find_preset("generic").event_id is None


@pytest.mark.parametrize(
    ("name", "secret", "says"),
    [
        ("standard-webhooks", "plain text", "whsec_"),
        ("svix", "whsec_not base64!", "base64"),
        ("adyen", "not hex", "hex"),
        ("discord", "abc", "hex"),
        ("sendgrid", "c2hvcnQ=", "base64"),
        ("postmark", "password", "user:password"),
        ("sns", "topic", "ARN"),
        ("plaid", "secret", "client_id"),
        ("stripe", " ", "blank"),
    ],
)
def test_a_secret_in_the_wrong_format_names_the_format(name, secret, says):
    """Whoever pastes the wrong secret learns at start-up what the right one looks like."""
    with pytest.raises(ConfigError, match=says):
        load_secrets(find_preset(name).scheme, secret)


def test_schemes_that_look_alike():
    """The same header and the same prefix mean different things at different providers."""
    assert find_preset("intercom").scheme.algorithm == "sha1"
    assert find_preset("bitbucket").scheme.algorithm == "sha256"
    assert isinstance(find_preset("openai").scheme, StandardWebhooks)
    assert not isinstance(find_preset("stripe").scheme, StandardWebhooks)
    assert isinstance(find_preset("gitlab").scheme, AnyOf)
    assert isinstance(find_preset("shopify").scheme, HmacSignature)


@pytest.mark.parametrize("name", ["strpie", "Stripe", "STRIPE"])
def test_a_near_miss_is_corrected(name):
    """The error for a misspelt provider offers the right one."""
    with pytest.raises(ConfigError, match="did you mean 'stripe'"):
        find_preset(name)


def test_a_product_leads_to_its_row():
    """A name that stands in a title offers the row of that title."""
    with pytest.raises(ConfigError, match="did you mean 'meta'"):
        find_preset("Messenger")


def test_an_unknown_provider_gets_the_list():
    """The error for a strange name lists what there is and guesses nothing."""
    with pytest.raises(ConfigError) as caught:
        providers.verify("zzzzzz", secret="s", headers={}, body=b"")
    assert "did you mean" not in str(caught.value)
    assert ", ".join(sorted(NAMES)) in str(caught.value)


def test_rows_cannot_be_changed():
    """Rows and catalog are constants."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        find_preset("stripe").event_id = "other"
    with pytest.raises(TypeError):
        PRESETS["other"] = find_preset("stripe")


def test_a_row_that_does_not_sign_cannot_be_verified(monkeypatch):
    """Asking to verify an unsigned provider is an error of configuration."""
    row = Preset(name="plain", title="Plain", event_id="id", checked=dt.date(2026, 1, 1))
    monkeypatch.setattr(providers, "find_preset", lambda name: row)
    with pytest.raises(ConfigError, match="Plain does not sign"):
        providers.verify("plain", secret="s", headers={}, body=b"")


def test_readme_is_fresh():
    """The README's table is the catalog's: `python -m webhook_dedup.providers.table` writes it."""
    text = README.read_text("utf-8")
    assert rewritten(text) == text
    assert text.count("| `") >= len(NAMES)


def test_a_table_without_a_place():
    """A file without the markers is left alone."""
    with pytest.raises(ConfigError, match="begin"):
        rewritten("# Nothing\n")


def test_first_of_in_words():
    """Alternatives and parts read as one line."""
    assert expression_text(FirstOf("a", ("b", "c?"))) == "a or b + c?"
