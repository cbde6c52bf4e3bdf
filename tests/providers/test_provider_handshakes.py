"""Handshakes: what is answered, with what, and what is refused or left to be a delivery."""

import gzip
import hashlib
import hmac
import json

import pytest

from webhook_dedup.errors import RejectedDelivery
from webhook_dedup.providers import Parsed, find_preset, raw_headers
from webhook_dedup.providers.handshakes import (
    MetaVerification,
    OriginPermission,
    TokenHandshake,
    VisitingHandshake,
)
from webhook_dedup.providers.samples import sample_delivery
from webhook_dedup.providers.subscriptions import SnsConfirmation

SECRETS = (b"secret",)
HTML = "<script>alert(1)</script>"


def request(body=None, *, method="POST", query=b"", headers=()):
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return Parsed(raw_headers(dict(headers)), raw, method=method, query=query)


def answer(name, parsed, secrets=SECRETS):
    return find_preset(name).handshake.answer(parsed, secrets)


def refusal(handshake, parsed, secrets=SECRETS):
    with pytest.raises(RejectedDelivery) as caught:
        handshake.answer(parsed, secrets)
    return caught.value.status, caught.value.code


WITH_HANDSHAKES = {
    "nylas": {"GET"},
    "meta": {"GET"},
    "okta": {"GET"},
    "mailchimp": {"GET"},
    "mandrill": {"HEAD"},
    "intercom": {"HEAD"},
    "cloudevents": {"OPTIONS"},
    "microsoft-graph": {"POST"},
    "slack": {"POST"},
    "discord": {"POST"},
    "discord-events": {"POST"},
    "zoom": {"POST"},
    "sns": {"POST"},
}


@pytest.mark.parametrize(("name", "methods"), WITH_HANDSHAKES.items())
def test_methods_and_deliveries(name, methods):
    """Each handshake names its methods and takes no delivery for one."""
    handshake = find_preset(name).handshake
    assert handshake.methods == methods
    assert handshake.signed == (name in {"slack", "discord", "discord-events", "sns"})
    sample = sample_delivery(name, secret=None)
    delivery = Parsed(raw_headers(sample.headers), sample.body, method="POST", query=sample.query)
    assert handshake.answer(delivery, SECRETS) is None


@pytest.mark.parametrize("name", sorted({"slack", "discord", "zoom", "sns"}))
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"[" * 100_000, b'"x"', b"\xff", b'{"type":[]}']
)
def test_bodies_of_any_kind_are_no_handshakes(name, body):
    """What is no JSON object is left to be refused as a delivery."""
    assert answer(name, request(body)) is None


def test_a_query_parameter_comes_back():
    """Nylas gets the bare challenge, Graph its decoded token; both as text that is no page."""
    reply = answer("nylas", request(method="GET", query=b"challenge=abc%20d&x=1"))
    assert (reply.status, reply.body) == (200, b"abc d")
    reply = answer(
        "microsoft-graph", request(b"", query=b"validationToken=Validation%3a+T%c3%a9st")
    )
    assert (reply.status, reply.body) == (200, "Validation: Tést".encode())
    assert reply.content_type == "text/plain; charset=utf-8"
    assert ("X-Content-Type-Options", "nosniff") in reply.headers


def test_other_requests_are_no_handshakes():
    """A GET without the parameter, or the parameter in another method, is none."""
    assert answer("nylas", request(method="GET", query=b"other=1")) is None
    assert answer("nylas", request(method="POST", query=b"challenge=a")) is None
    assert answer("microsoft-graph", request(method="GET", query=b"validationToken=a")) is None
    assert answer("okta", request(method="GET")) is None
    assert answer("cloudevents", request(method="OPTIONS")) is None
    assert answer("meta", request(method="GET", query=b"hub.mode=unsubscribe")) is None


def test_hostile_echoes():
    """Pages come back as text; what is huge, empty or contradicts itself does not come back."""
    reply = answer("nylas", request(method="GET", query=f"challenge={HTML}".encode()))
    assert reply.body.decode() == HTML
    assert reply.content_type.startswith("text/plain")
    assert ("X-Content-Type-Options", "nosniff") in reply.headers
    handshake = find_preset("nylas").handshake
    for query, code in (
        (b"challenge=" + b"x" * 4097, "bad_handshake"),
        (b"challenge=", "bad_handshake"),
        (b"challenge=a&challenge=b", "ambiguous_query"),
        (b"&" * 2000 + b"challenge=a", "malformed_query"),
    ):
        assert refusal(handshake, request(method="GET", query=query)) == (400, code)


def test_meta_compares_its_token():
    """The challenge comes back only to those who know the token; without one nobody does."""
    query = b"hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=meatyhamhock"
    handshake = find_preset("meta").handshake.with_token("meatyhamhock")
    assert isinstance(handshake, TokenHandshake)
    reply = handshake.answer(request(method="GET", query=query), SECRETS)
    assert (reply.status, reply.body) == (200, b"1158201444")
    wrong = (403, "wrong_verify_token")
    for token in ("", "other", "meatyhamhoc", "\ud800\u00e9"):
        other = MetaVerification(token)
        assert refusal(other, request(method="GET", query=query)) == wrong
    silent = b"hub.mode=subscribe&hub.challenge=1"
    assert refusal(handshake, request(method="GET", query=silent)) == wrong
    assert refusal(MetaVerification(), request(method="GET", query=silent)) == wrong


def test_okta_gets_its_header_back():
    """The challenge comes back in JSON, whatever it holds."""
    parsed = request(method="GET", headers={"X-Okta-Verification-Challenge": f'a"{HTML}'})
    reply = answer("okta", parsed)
    assert json.loads(reply.body) == {"verification": f'a"{HTML}'}
    assert reply.content_type == "application/json"
    huge = request(method="GET", headers={"x-okta-verification-challenge": "x" * 5000})
    assert refusal(find_preset("okta").handshake, huge) == (400, "bad_handshake")


def test_slack_gets_its_challenge_back():
    """The challenge comes back as text; one that is no text is refused."""
    reply = answer("slack", request({"type": "url_verification", "challenge": "3eZbrw1a"}))
    assert (reply.body, reply.content_type) == (b"3eZbrw1a", "text/plain; charset=utf-8")
    for challenge in (None, 1, ["a"], "", "x" * 4097):
        parsed = request({"type": "url_verification", "challenge": challenge})
        assert refusal(find_preset("slack").handshake, parsed) == (400, "bad_handshake")
    lone = answer("slack", request(b'{"type": "url_verification", "challenge": "\\ud800"}'))
    assert lone.body == b"\\ud800"


def test_discord_pings():
    """Interactions ping with type 1 and get it back, webhook events with 0 and get nothing."""
    reply = answer("discord", request({"type": 1}))
    assert (reply.status, json.loads(reply.body)) == (200, {"type": 1})
    reply = answer("discord-events", request({"type": 0}))
    assert (reply.status, reply.body) == (204, b"")
    for kind in (2, True, "1", 1.0, None, [1]):
        assert answer("discord", request({"type": kind})) is None
    assert answer("discord-events", request({"type": 1})) is None
    assert answer("discord-events", request({"type": False})) is None


def test_zoom_gets_an_hmac():
    """The token comes back with its HMAC under the first secret."""
    body = {"event": "endpoint.url_validation", "payload": {"plainToken": "qgg8vlvZRS6UYooatFL8Aw"}}
    reply = answer("zoom", request(body), (b"new", b"old"))
    expected = hmac.new(b"new", b"qgg8vlvZRS6UYooatFL8Aw", hashlib.sha256).hexdigest()
    assert json.loads(reply.body) == {
        "plainToken": "qgg8vlvZRS6UYooatFL8Aw",
        "encryptedToken": expected,
    }


@pytest.mark.parametrize(
    "token", ["v0:1700000000:{}", "a:b", "", None, 7, "x" * 129, HTML, "a b", "abc\n", "\u0661"]
)
def test_nobody_gets_a_delivery_signed_by_zooms_handshake(token):
    """A token that could be the signed text of a delivery is refused."""
    body = {"event": "endpoint.url_validation", "payload": {"plainToken": token}}
    assert refusal(find_preset("zoom").handshake, request(body)) == (400, "bad_handshake")


def test_nothing_is_unpacked_for_zooms_handshake():
    """What is read before a signature is checked is not larger than what was sent."""
    body = json.dumps({"event": "endpoint.url_validation", "payload": {"plainToken": "abc"}})
    packed = request(gzip.compress(body.encode()), headers={"Content-Encoding": "gzip"})
    assert answer("zoom", packed) is None


def test_zoom_needs_a_secret():
    """A source without a secret cannot answer."""
    body = {"event": "endpoint.url_validation", "payload": {"plainToken": "abc"}}
    assert refusal(find_preset("zoom").handshake, request(body), ()) == (400, "bad_handshake")


@pytest.mark.parametrize(
    ("name", "method"), [("mandrill", "HEAD"), ("intercom", "HEAD"), ("mailchimp", "GET")]
)
def test_probes(name, method):
    """A probe gets an empty 200."""
    reply = answer(name, request(method=method))
    assert (reply.status, reply.body) == (200, b"")
    assert answer(name, request(method="POST")) is None


def test_cloudevents_permission():
    """A sender that asks may send, at any rate; one that is not listed may not."""
    asks = {"WebHook-Request-Origin": "eventemitter.example.com", "WebHook-Request-Rate": "120"}
    parsed = request(method="OPTIONS", headers=asks)
    reply = answer("cloudevents", parsed)
    assert dict(reply.headers) == {
        "Allow": "POST",
        "WebHook-Allowed-Origin": "eventemitter.example.com",
        "WebHook-Allowed-Rate": "*",
    }
    listed = OriginPermission(origins=("eventemitter.example.com",))
    assert listed.answer(parsed, SECRETS) == reply
    other = OriginPermission(origins=("other.example.com",))
    assert refusal(other, parsed) == (403, "origin_not_allowed")


@pytest.mark.parametrize("origin", ["a\r\nSet-Cookie: b", "x" * 256, "caf\xe9", ""])
def test_hostile_origins(origin):
    """Nothing is echoed into a header that could end it."""
    parsed = request(method="OPTIONS", headers={"WebHook-Request-Origin": origin})
    assert refusal(OriginPermission(), parsed) == (403, "origin_not_allowed")


CONFIRMATION = {
    "Type": "SubscriptionConfirmation",
    "SubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=2336",
}


def test_sns_is_answered_and_not_confirmed():
    """Unless it is asked for, no visit is made; an unsubscription is never undone."""
    handshake = find_preset("sns").handshake
    assert isinstance(handshake, VisitingHandshake)
    for kind in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
        parsed = request({**CONFIRMATION, "Type": kind})
        assert handshake.answer(parsed, SECRETS).status == 200
        assert not handshake.visits(parsed)
    confirming = SnsConfirmation(confirm=True)
    assert not confirming.visits(request({**CONFIRMATION, "Type": "UnsubscribeConfirmation"}))
    assert not confirming.visits(request({**CONFIRMATION, "Type": "Notification"}))


def test_sns_is_confirmed_on_demand():
    """The visit goes to the address of SNS."""
    visited = []
    handshake = SnsConfirmation(confirm=True, fetch=visited.append)
    assert handshake.visits(request(CONFIRMATION))
    handshake.visit(request(CONFIRMATION))
    assert visited == [CONFIRMATION["SubscribeURL"]]


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription",
        "https://sns.us-west-2.amazonaws.com.evil.example/?Action=ConfirmSubscription",
        "https://evil.example/?sns.us-west-2.amazonaws.com/",
        "https://sns.us-west-2.amazonaws.com@evil.example/?a",
        "https://sns.us-west-2.amazonaws.com:8080/?a",
        "https://sqs.us-west-2.amazonaws.com/?a",
        "https://sns.s3-us-west-2.amazonaws.com/?a",
        "https://sns.us-west-2.amazonaws.com/?a b",
        "https://sns.us-west-2.amazonaws.com/?a\n",
        "https://sns.us-west-2.amazonaws.com/?" + "x" * 3000,
        None,
        7,
    ],
)
def test_sns_visits_nobody_else(url):
    """An address that is not of SNS is refused and not visited."""
    visited = []
    handshake = SnsConfirmation(confirm=True, fetch=visited.append)
    with pytest.raises(RejectedDelivery) as caught:
        handshake.visit(request({**CONFIRMATION, "SubscribeURL": url}))
    assert (caught.value.status, visited) == (400, [])


def test_sns_asks_again_when_the_visit_fails():
    """While SNS cannot be reached the confirmation is refused with 503, and comes again."""

    def fetch(url):
        raise OSError("no route")

    with pytest.raises(RejectedDelivery) as caught:
        SnsConfirmation(confirm=True, fetch=fetch).visit(request(CONFIRMATION))
    assert (caught.value.status, caught.value.retry_after) == (503, 5.0)
