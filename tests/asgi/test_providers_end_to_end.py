"""Every provider through the middleware: handshake, delivery, redelivery, look-alike, batch.

A redelivery is made as the provider makes it: signed anew, with whatever counts attempts. The
other event has in common with the first what a careless key would be made of.
"""

from __future__ import annotations

import functools
import json
import time
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from starlette.requests import Request

from webhook_dedup import Source, event_of
from webhook_dedup.asgi import scopes
from webhook_dedup.observe.record import Kind
from webhook_dedup.providers import PRESETS
from webhook_dedup.providers.samples import SAMPLES, sample_delivery, sample_secret

from .kit import Handler, deliver, mounted, settled
from .test_batch_deliveries import Batches

NOW = time.time()
BASE = "https://hooks.example.com"
TOKEN = "chosen by the user"
BATCHES = sorted(name for name, preset in PRESETS.items() if preset.items)
OPTIONS = {"meta": {"verify_token": TOKEN}, "generic": {"event_id": "id"}}

# What each provider sends to see whether the endpoint is willing, and what it takes for an answer.
ASKS = {
    "nylas": ({"method": "GET", "query_string": b"challenge=abc"}, b"abc"),
    "meta": (
        {
            "method": "GET",
            "query_string": b"hub.mode=subscribe&hub.challenge=42&hub.verify_token="
            + TOKEN.replace(" ", "+").encode(),
        },
        b"42",
    ),
    "okta": (
        {"method": "GET", "headers": {"x-okta-verification-challenge": "abc"}},
        b'{"verification": "abc"}',
    ),
    "mandrill": ({"method": "HEAD"}, b""),
    "intercom": ({"method": "HEAD"}, b""),
    "mailchimp": ({"method": "GET"}, b""),
    "microsoft-graph": ({"query_string": b"validationToken=abc%20d"}, b"abc d"),
    "cloudevents": (
        {"method": "OPTIONS", "headers": {"WebHook-Request-Origin": "eventemitter.example.com"}},
        b"",
    ),
}
# The same for those that ask with a body that is signed like any other.
SIGNED_ASKS = {
    "slack": ({"type": "url_verification", "challenge": "abc"}, b"abc"),
    "discord": ({"type": 1}, b'{"type": 1}'),
    "discord-events": ({"type": 0}, b""),
    "zoom": (
        {"event": "endpoint.url_validation", "payload": {"plainToken": "abc"}},
        None,
    ),
    "sns": (
        {
            "Type": "SubscriptionConfirmation",
            "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
            "Token": "2336412f37",
            "TopicArn": "arn:aws:sns:us-east-1:123456789012:samples",
            "Message": "You have chosen to subscribe",
            "SubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription",
            "Timestamp": "2026-11-22T00:00:00.000Z",
            "SignatureVersion": "2",
            "SigningCertURL": "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem",
        },
        b"",
    ),
}


@pytest.fixture(autouse=True)
def _now(monkeypatch):
    """Deliveries arrive when they were made, however busy the machine is."""
    monkeypatch.setattr(scopes, "time", SimpleNamespace(time=lambda: NOW))


@functools.cache
def secret_of(name):
    """Key pairs take a while to make, so each provider has one."""
    return sample_secret(name) if PRESETS[name].scheme else None


def source_of(name, **options):
    secret = secret_of(name)
    chosen = {
        "path": f"/webhooks/{name}",
        "secret": secret.verifying if secret else None,
        "public_url": BASE,
        **OPTIONS.get(name, {}),
        **options,
    }
    return Source(name, **chosen)


def sample_of(name, **options):
    secret = secret_of(name)
    chosen = {"now": NOW, **options}
    return sample_delivery(name, secret=secret.signing if secret else None, **chosen)


async def send(app, sample):
    url = urlsplit(sample.url)
    return await deliver(
        app,
        sample.body,
        headers={**sample.headers, "Content-Length": str(len(sample.body))},
        method=sample.method,
        path=url.path,
        query_string=url.query.encode(),
    )


def acknowledged(name):
    """What the provider is told: the row's status, or the handler's where the reply counts."""
    preset = PRESETS[name]
    return 200 if preset.ack == "handled" else preset.ack_status


def test_every_provider_has_a_sample():
    """No row of the catalog is left out here, and every handshake is asked for."""
    assert set(SAMPLES) == set(PRESETS)
    asking = {name for name, preset in PRESETS.items() if preset.handshake}
    assert asking == {*ASKS, *SIGNED_ASKS}


@pytest.mark.parametrize("name", sorted(SAMPLES))
async def test_redelivery_is_skipped_and_the_next_event_runs(name):
    """First delivery runs, its redeliveries do not, an event that looks alike does."""
    handler = Batches()
    async with mounted(handler, sources=[source_of(name)]) as (app, records):
        first = await send(app, sample_of(name))
        await settled(app)
        again = [await send(app, sample_of(name, attempt=attempt)) for attempt in (1, 2, 3)]
        await settled(app)
        assert len(handler.runs) == 1, "a redelivery ran"
        other = await send(app, sample_of(name, event="2"))
        await settled(app)
    assert all(reply.status == acknowledged(name) for reply in (first, *again, other)), first.body
    assert len(handler.runs) == 2, "another event was taken for a redelivery"
    assert len(records.of(Kind.SUCCEEDED)) == 2
    assert {record.reason for record in records.of(Kind.SKIPPED)} == {"duplicate"}
    assert len(records.of(Kind.SKIPPED)) == 3
    preset = PRESETS[name]
    if preset.event_type is not None:
        assert handler.events[0].type, "no event type"
    if preset.subject is not None:
        assert handler.events[0].subject, "no subject"


@pytest.mark.parametrize("name", sorted(name for name in SAMPLES if PRESETS[name].scheme))
async def test_unsigned_and_forged_deliveries_leave_nothing(name):
    """Without its signature, or with a flipped bit in it, a delivery claims and runs nothing."""
    handler, other = Handler(), sample_secret(name)
    forged = sample_delivery(name, secret=other.signing, now=NOW)
    unsigned = sample_delivery(name, secret=None, now=NOW)
    async with mounted(handler, sources=[source_of(name)]) as (app, records):
        replies = [await send(app, sample) for sample in (forged, unsigned)]
        assert len(app.dedup.inbox) == len(app.dedup.store) == 0
    assert [reply.status for reply in replies] == [401, 401]
    assert handler.runs == []
    assert set(records.kinds) == {"rejected"}


@pytest.mark.parametrize("name", sorted(ASKS))
async def test_handshake_is_answered(name):
    """What asks whether the endpoint is willing is answered as the provider wants it."""
    request, answer = ASKS[name]
    handler = Handler()
    async with mounted(handler, sources=[source_of(name)]) as (app, records):
        chosen = {"headers": {}, "path": f"/webhooks/{name}", **request}
        reply = await deliver(app, b"", **chosen)
        assert len(app.dedup.inbox) == len(app.dedup.store) == 0
    assert (reply.status, reply.body) == (200, answer)
    assert handler.runs == []
    assert [record.reason for record in records.all] == ["handshake"]


@pytest.mark.parametrize("name", sorted(SIGNED_ASKS))
async def test_signed_handshake_is_answered(name):
    """The same for those that ask in a signed body; a forged one learns nothing."""
    content, answer = SIGNED_ASKS[name]
    handler, body = Handler(), json.dumps(content).encode()
    signed = PRESETS[name].handshake.signed
    forger = sample_secret(name).signing
    forged = sample_delivery(name, secret=forger, now=NOW, body=body)
    async with mounted(handler, sources=[source_of(name)]) as (app, records):
        reply = await send(app, sample_of(name, body=body))
        refused = await send(app, forged)
        assert len(app.dedup.inbox) == len(app.dedup.store) == 0
    assert 200 <= reply.status < 300
    assert answer is None or reply.body == answer
    assert refused.status == (401 if signed else 200)
    assert handler.runs == []
    assert set(records.kinds) <= {"received", "rejected"}


@pytest.mark.parametrize("body", ["whole", "items"])
@pytest.mark.parametrize("name", BATCHES)
async def test_retry_of_a_batch_carries_only_what_is_left(name, body):
    """One item is settled, the call fails, and the next one gets the other items."""
    handler = _FailsOnce()
    async with mounted(handler, sources=[source_of(name, batch=body)]) as (app, records):
        first = await send(app, sample_of(name, items=("1", "2", "3")))
        await settled(app)
        assert len(handler.calls) == 2
        await send(app, sample_of(name, items=("1", "2", "3"), attempt=2))
        await send(app, sample_of(name, items=("3", "4")))
        await settled(app)
    assert first.status == acknowledged(name)
    ids = handler.calls[0]
    assert len(set(ids)) == 3
    assert handler.calls[1] == ids[1:]
    assert [len(call) for call in handler.calls] == [3, 2, 1]
    assert len(records.of(Kind.SUCCEEDED)) == 4
    assert len(records.of(Kind.SKIPPED)) == 4
    if body == "items":
        assert len(handler.runs[1]) < len(handler.runs[0])


class _FailsOnce(Batches):
    """Settles the first item of the first call, and fails that call.

    Attributes:
        calls: Ids of the items of each call.
    """

    def __init__(self):
        super().__init__(500)
        self.calls = []

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            event = event_of(Request(scope))
            self.calls.append([item.event.id for item in event.items])
            if len(self.calls) == 1:
                await event.items[0].done()
        await super().__call__(scope, receive, send)
