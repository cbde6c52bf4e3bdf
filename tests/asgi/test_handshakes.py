"""Handshakes through the middleware: answered, and nothing claimed or stored for them."""

from __future__ import annotations

import json

import pytest

from webhook_dedup import ConfigError, Source, WebhookDedup
from webhook_dedup.observe.record import Kind
from webhook_dedup.providers.handshakes import QueryEcho, SlackVerification
from webhook_dedup.providers.samples import sample_delivery, sample_secret
from webhook_dedup.providers.subscriptions import SnsConfirmation

from .kit import PATH, Handler, TracedStore, deliver, mounted, settled
from .kit import source as plain_source

CHALLENGE = json.dumps({"type": "url_verification", "challenge": "c-1"}).encode()
SNS_URL = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=t"


def asks_by_query(**options):
    return plain_source(handshake=QueryEcho("challenge"), **options)


@pytest.mark.parametrize("ack", ["first", "claimed", "handled"])
async def test_get_is_answered_and_leaves_nothing(ack):
    """A GET that asks is answered by the handshake; the store is not touched, the app not run."""
    handler, store = Handler(), TracedStore()
    async with mounted(handler, sources=[asks_by_query(ack=ack)], store=store) as (app, records):
        reply = await deliver(app, b"", method="GET", headers={}, query_string=b"challenge=c-1")
        assert len(app.dedup.inbox) == 0
    assert (reply.status, reply.body) == (200, b"c-1")
    assert store.trace == ["start"]
    assert handler.runs == []
    [received] = records.all
    assert (received.kind, received.reason) == (Kind.RECEIVED, "handshake")


async def test_get_that_does_not_ask_is_the_apps():
    """A request of such a method that is no handshake passes through, body and all."""
    handler = Handler()
    async with mounted(handler, sources=[asks_by_query()]) as (app, records):
        reply = await deliver(app, b"a body", method="GET", headers={}, query_string=b"page=2")
    assert (reply.status, reply.body) == (200, b"handled")
    assert handler.runs == [b"a body"]
    assert records.all == []
    assert "webhook_dedup.event" not in handler.scopes[0]


async def test_other_methods_and_paths_are_the_apps():
    """Neither another method nor another path is asked for a handshake."""
    handler = Handler()
    async with mounted(handler, sources=[asks_by_query()]) as (app, _):
        await deliver(app, method="PUT", query_string=b"challenge=c")
        await deliver(app, method="GET", path="/other", query_string=b"challenge=c")
    assert len(handler.runs) == 2


async def test_path_with_placeholders_is_asked_too():
    """Handshakes are found below patterns as deliveries are."""
    chosen = asks_by_query(path="/hooks/{tenant}")
    async with mounted(Handler(), sources=[chosen]) as (app, _):
        reply = await deliver(app, b"", method="GET", path="/hooks/t1", query_string=b"challenge=c")
    assert reply.body == b"c"


async def test_hostile_challenge_is_refused():
    """A handshake that must not be answered is a recorded refusal."""
    async with mounted(Handler(), sources=[asks_by_query()]) as (app, records):
        query = b"challenge=" + b"x" * 5000
        reply = await deliver(app, b"", method="GET", headers={}, query_string=query)
    assert reply.status == 400
    assert [record.kind for record in records.all] == [Kind.REJECTED]


async def test_signed_handshake_is_answered_after_its_signature():
    """A signed one is answered, one with a wrong signature gets 401 and no answer."""
    chosen = plain_source(handshake=SlackVerification())
    handler = Handler()
    async with mounted(handler, sources=[chosen]) as (app, records):
        reply = await deliver(app, CHALLENGE)
        forged = await deliver(app, CHALLENGE, headers={"x-signature": "sha256=" + "0" * 64})
    assert (reply.status, reply.body) == (200, b"c-1")
    assert (forged.status, b"c-1" in forged.body) == (401, False)
    assert [record.kind for record in records.all] == [Kind.RECEIVED, Kind.REJECTED]
    assert handler.runs == []


async def test_signed_get_handshake_is_verified():
    """Where a GET must be signed, an unsigned one that asks gets 401, one that does not passes."""

    class SignedEcho(QueryEcho):
        signed = True

    handler = Handler()
    chosen = plain_source(handshake=SignedEcho("challenge"))
    async with mounted(handler, sources=[chosen]) as (app, _):
        asks = {"method": "GET", "query_string": b"challenge=c"}
        assert (await deliver(app, b"", headers={}, **asks)).status == 401
        assert (await deliver(app, b"", **asks)).body == b"c"
        assert (await deliver(app, b"", method="GET", headers={})).body == b"handled"


async def test_handshake_needs_no_store():
    """While the store is away a handshake is answered and a delivery asked to come again."""
    store = TracedStore()
    app = WebhookDedup(Handler(), store=store, sources=[asks_by_query()])
    store.away = {"start"}
    reply = await deliver(app, b"", method="GET", headers={}, query_string=b"challenge=c")
    assert reply.body == b"c"
    assert (await deliver(app)).status == 503


async def test_verify_token_is_compared():
    """Meta's GET is answered for the token of the source and for no other."""
    chosen = Source("meta", path=PATH, secret="s", verify_token="open sesame")
    async with mounted(Handler(), sources=[chosen]) as (app, _):
        query = b"hub.mode=subscribe&hub.challenge=42&hub.verify_token="
        asks = {"method": "GET", "headers": {}}
        right = await deliver(app, b"", query_string=query + b"open+sesame", **asks)
        wrong = await deliver(app, b"", query_string=query + b"guess", **asks)
    assert (right.status, right.body) == (200, b"42")
    assert (wrong.status, b"42" in wrong.body) == (403, False)


def test_token_without_a_handshake_for_it_is_refused():
    """A token that nobody would compare is told when it is written."""
    with pytest.raises(ConfigError, match="shows no token, so source 'slack' takes no"):
        Source("slack", path=PATH, secret="s", verify_token="t")


def test_handshake_and_deliveries_of_two_sources_do_not_share_a_path():
    """A source whose handshake comes with another source's method is refused its path."""
    sources = [asks_by_query(), plain_source(name="other", methods=["GET"])]
    with pytest.raises(ConfigError, match="share '/hooks'"):
        WebhookDedup(Handler(), store="memory://", sources=sources)


@pytest.mark.parametrize("confirms", [True, False])
async def test_subscription_is_confirmed_only_if_asked_for(confirms, monkeypatch):
    """An SNS confirmation is answered; its address is visited only where that was chosen."""
    visits = []
    handshake = SnsConfirmation(confirm=confirms, fetch=visits.append)
    chosen = plain_source(handshake=handshake)
    content = json.dumps({"Type": "SubscriptionConfirmation", "SubscribeURL": SNS_URL}).encode()
    async with mounted(Handler(), sources=[chosen]) as (app, _):
        assert (await deliver(app, content)).status == 200
        evil = content.replace(b"amazonaws.com", b"example.com")
        assert (await deliver(app, evil)).status == (400 if confirms else 200)
        assert (await deliver(app, content, headers={})).status == 401
    assert visits == ([SNS_URL] if confirms else [])


async def test_discord_probes_with_bad_signatures():
    """Discord's PING is answered when signed, and its probe with a bad signature gets 401."""
    secret = sample_secret("discord")
    chosen = Source("discord", path=PATH, secret=secret.verifying)
    ping = sample_delivery("discord", secret=secret.signing, body=b'{"type": 1}')
    async with mounted(Handler(), sources=[chosen]) as (app, _):
        good = await deliver(app, ping.body, headers=ping.headers)
        bad_headers = {**ping.headers, "X-Signature-Ed25519": "00" * 64}
        bad = await deliver(app, ping.body, headers=bad_headers)
        await settled(app)
    assert (good.status, good.json()) == (200, {"type": 1})
    assert bad.status == 401
