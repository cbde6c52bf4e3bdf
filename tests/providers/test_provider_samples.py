"""Samples: every provider's delivery verifies, and its events are told apart and recognised."""

import json
import time

import pytest

from webhook_dedup import providers
from webhook_dedup.errors import ConfigError, SignatureError
from webhook_dedup.providers import (
    PRESETS,
    Parsed,
    compile_extractor,
    compile_items,
    compile_lenient,
    compile_subset,
    compile_time,
    raw_headers,
)
from webhook_dedup.providers.readers import Hashed
from webhook_dedup.providers.samples import SAMPLES, sample_delivery, sample_secret

NOW = time.time()
# What a careless key would be made of, which two events of a sample have in common.
IN_COMMON = {
    "linear": ("webhookId", "data.id"),
    "stripe": ("type", "data.object.id"),
    "nylas": ("data.object.id", "type"),
    "slack": ("event.ts", "event.channel"),
    "plaid": ("@",),
    "github": ("@", "header:X-GitHub-Hook-ID"),
    "gitlab": ("@", "header:X-Gitlab-Event-UUID"),
    "bitbucket": ("@", "header:X-Hook-UUID"),
    "shopify": ("@", "header:X-Shopify-Event-Id"),
    "twilio": ("form:CallSid", "form:Digits"),
    "coinbase": ("id",),
    "discord-events": ("event.data.user.id",),
    "zoom": ("payload.object.uuid",),
    "calendly": ("payload.uri",),
    "postmark": ("MessageID",),
    "typeform": ("form_response.token",),
}
ITEMS_IN_COMMON = {
    "sendgrid": "sg_message_id",
    "hubspot": "eventId",
    "mandrill": "_id",
    "microsoft-graph": "resource",
    "cloudevents": "source",
    "adyen": "merchantReference",
    "okta": "actor.id",
    "meta": "from",
}
WHOLE = Hashed("@")
BATCHES = [name for name, preset in PRESETS.items() if preset.items]


@pytest.fixture(scope="module")
def secret_of():
    """A secret for each provider; key pairs take a while to make."""
    made = {}

    def secret(name):
        return made.setdefault(name, sample_secret(name))

    return secret


def parsed(sample):
    headers = raw_headers(sample.headers)
    return Parsed(headers, sample.body, method=sample.method, url=sample.url, query=sample.query)


def items(name, sample):
    preset = PRESETS[name]
    whole = parsed(sample)
    return compile_items(preset.items)(whole) if preset.items else [whole]


def ids(name, sample):
    find = compile_extractor(PRESETS[name].event_id or "id")
    return [find(item) for item in items(name, sample)]


def verify(name, secret, sample, **changes):
    request = {"headers": sample.headers, "body": sample.body, "url": sample.url, **changes}
    providers.verify(name, secret=secret, method=sample.method, now=NOW, **request)


def each(test):
    return pytest.mark.parametrize("name", sorted(SAMPLES))(test)


@each
def test_every_sample_verifies(name, secret_of):
    """A first attempt and a redelivery pass for the provider's."""
    secret = secret_of(name)
    for attempt in (1, 2):
        sample = sample_delivery(name, secret=secret.signing, attempt=attempt, now=NOW)
        verify(name, secret.verifying, sample)


@each
def test_no_sample_verifies_under_another_secret(name, secret_of):
    """A sample signed by somebody else is refused."""
    sample = sample_delivery(name, secret=sample_secret(name).signing, now=NOW)
    with pytest.raises(SignatureError):
        verify(name, secret_of(name).verifying, sample)


@each
def test_an_unsigned_sample_does_not_verify(name, secret_of):
    """Without a secret there is no signature."""
    with pytest.raises(SignatureError):
        verify(name, secret_of(name).verifying, sample_delivery(name, secret=None, now=NOW))


@each
def test_an_event_is_recognised(name, secret_of):
    """All attempts of an event have its id, whatever else changes from one to the next."""
    attempts = [
        sample_delivery(name, secret=secret_of(name).signing, attempt=attempt, now=NOW)
        for attempt in (1, 2, 3)
    ]
    found = [ids(name, attempt) for attempt in attempts]
    assert found[0] == found[1] == found[2]
    assert all(found[0])


@each
def test_two_events_are_told_apart(name, secret_of):
    """Another event has another id, however much alike the two are."""
    secret = secret_of(name).signing
    found = {
        tuple(ids(name, sample_delivery(name, secret=secret, event=event, now=NOW)))
        for event in ("1", "2", "12", "a", "b")
    }
    assert len(found) == 5


@pytest.mark.parametrize(("name", "expressions"), IN_COMMON.items())
def test_what_two_events_have_in_common(name, expressions):
    """The samples are a trap for careless keys."""
    one, other = (parsed(sample_delivery(name, secret=None, event=each)) for each in "12")
    for expression in expressions:
        find = compile_extractor(WHOLE if expression == "@" else expression)
        assert find(one) == find(other) is not None


@pytest.mark.parametrize(("name", "expression"), ITEMS_IN_COMMON.items())
def test_what_two_items_have_in_common(name, expression):
    """The items of a batch are a trap, too."""
    sample = sample_delivery(name, secret=None, items=("1", "2"))
    one, other = items(name, sample)
    find = compile_extractor(expression)
    assert find(one) == find(other) is not None


@each
def test_types_subjects_and_times(name, secret_of):
    """Type, subject and time are found where the row says that there is one."""
    preset = PRESETS[name]
    (item,) = items(name, sample_delivery(name, secret=secret_of(name).signing, now=NOW))
    if preset.event_type is not None:
        assert compile_lenient(preset.event_type)(item)
    if preset.subject is not None:
        assert compile_lenient(preset.subject)(item)
    if preset.occurred_at is not None and name not in {"discord-events", "mailchimp", "twilio"}:
        assert NOW - 90_000 < compile_time(preset.occurred_at)(item) <= NOW + 90_000


REDELIVERED = {
    "slack": "X-Slack-Retry-Num",
    "square": "square-retry-number",
    "jira": "X-Atlassian-Webhook-Retry",
    "bitbucket": "X-Attempt-Number",
}
COUNTED = {
    "nylas": "webhook_delivery_attempt",
    "coinbase": "attempt_number",
    "intercom": "delivery_attempts",
    "hubspot": "[0].attemptNumber",
    "mailgun": "signature.token",
    "linear": "webhookTimestamp",
}


@pytest.mark.parametrize(("name", "header"), REDELIVERED.items())
def test_attempts_counted_in_headers(name, header):
    """A redelivery says in a header that it is one."""
    first, second = (
        sample_delivery(name, secret=None, attempt=attempt, now=NOW).headers for attempt in (1, 2)
    )
    assert first.get(header) != second[header]


@pytest.mark.parametrize(("name", "path"), COUNTED.items())
def test_attempts_counted_in_bodies(name, path):
    """A redelivery changes the body where its provider counts there."""
    find = compile_extractor(path)
    first, second = (
        parsed(sample_delivery(name, secret=None, attempt=attempt, now=NOW)) for attempt in (1, 2)
    )
    assert find(first) != find(second)


@pytest.mark.parametrize(
    "name", ["stripe", "slack", "paddle", "standard-webhooks", "svix", "zoom", "sendgrid"]
)
def test_redeliveries_are_signed_anew(name, secret_of):
    """Where the time is signed, a redelivery has another signature."""
    secret = secret_of(name).signing
    first, second = (
        sample_delivery(name, secret=secret, attempt=attempt, now=NOW) for attempt in (1, 2)
    )
    assert first.headers != second.headers


@pytest.mark.parametrize("name", BATCHES)
def test_batches(name, secret_of):
    """Several events come in one delivery, which verifies; each has the id that it has alone."""
    secret = secret_of(name)
    sample = sample_delivery(name, secret=secret.signing, items=("1", "2", "3"), now=NOW)
    verify(name, secret.verifying, sample)
    alone = [ids(name, sample_delivery(name, secret=None, event=each, now=NOW)) for each in "123"]
    assert ids(name, sample) == [found for (found,) in alone]


@pytest.mark.parametrize("name", BATCHES)
def test_what_is_left_of_a_batch(name):
    """A body with some of the items holds these, with the ids that they had."""
    sample = sample_delivery(name, secret=None, items=("1", "2", "3"), now=NOW)
    body = compile_subset(PRESETS[name].items)(parsed(sample), [0, 2])
    rest = sample_delivery(name, secret=None, body=body, now=NOW)
    assert ids(name, rest) == [ids(name, sample)[0], ids(name, sample)[2]]


def test_a_body_of_ones_own(secret_of):
    """A given body is signed as it is, and sealed where the signature stands in it."""
    secret = secret_of("stripe").signing
    sample = sample_delivery("stripe", secret=secret, body=b'{"id":  "mine"}', now=NOW)
    assert sample.body == b'{"id":  "mine"}'
    verify("stripe", secret, sample)
    mine = b'{"event-data": {"id": "mine"}}'
    sealed = sample_delivery("mailgun", secret="key", body=mine, now=NOW)
    assert json.loads(sealed.body)["event-data"] == {"id": "mine"}
    verify("mailgun", "key", sealed)


@pytest.mark.parametrize("name", ["twilio", "square", "hubspot", "mandrill", "mailchimp"])
def test_urls_that_count(name, secret_of):
    """Where the URL is part of the proof, the sample holds for that URL only."""
    secret, url = secret_of(name), "https://example.com/hooks?a=1"
    sample = sample_delivery(name, secret=secret.signing, url=url, now=NOW)
    verify(name, secret.verifying, sample)
    with pytest.raises(SignatureError):
        verify(name, secret.verifying, sample, url="https://example.com/other?a=1")


def test_what_cannot_be_sampled():
    """A name, a secret or a batch that does not fit is an error that says why."""
    with pytest.raises(ConfigError, match="did you mean 'stripe'"):
        sample_delivery("strip", secret="s")
    with pytest.raises(ConfigError, match="whsec_"):
        sample_delivery("svix", secret="plain")
    with pytest.raises(ConfigError, match="by itself"):
        sample_delivery("stripe", secret="s", items=("1", "2"))
    with pytest.raises(ConfigError):
        sample_delivery("discord", secret=sample_secret("discord").verifying)


def test_sealing():
    """`seal` leaves a body alone unless its provider signs inside of it."""
    assert providers.seal("stripe", secret="s", body=b"{}") == b"{}"
    body = b'{"event-data": {}}'
    sealed = providers.seal("mailgun", secret="s", body=body, now=NOW)
    headers = providers.sign("mailgun", secret="s", body=sealed, now=NOW)
    providers.verify("mailgun", secret="s", headers=headers, body=sealed, now=NOW)
