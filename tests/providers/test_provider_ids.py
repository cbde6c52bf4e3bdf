"""Ids of the deliveries that samples do not show: other kinds, older versions, odd shapes."""

import json
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webhook_dedup.errors import RejectedDelivery
from webhook_dedup.providers import (
    PRESETS,
    Parsed,
    compile_extractor,
    compile_items,
    compile_lenient,
    compile_subset,
    compile_time,
    find_preset,
)

FORM = "application/x-www-form-urlencoded"


def ids(name, body, content_type="application/json", **headers):
    if content_type == FORM:
        raw = urlencode(body).encode()
    else:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    pairs = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
    parsed = Parsed([(b"content-type", content_type.encode()), *pairs], raw)
    preset = find_preset(name)
    items = compile_items(preset.items)(parsed) if preset.items else [parsed]
    return [compile_extractor(preset.event_id)(item) for item in items]


def one(name, body, *args, **headers):
    (found,) = ids(name, body, *args, **headers)
    return found


CE = {"ce_id": "1", "ce_source": "/a", "ce_type": "t"}


def test_cloudevents_modes():
    """Structured, binary and batched, an event has the same id; its data plays no part."""
    structured = one("cloudevents", {"id": "1", "source": "/a"}, "application/cloudevents+json")
    batch = "application/cloudevents-batch+json"
    assert structured == one("cloudevents", [{"id": "1", "source": "/a"}], batch)
    for data in (b"\xff", b"", b'[{"id": "2", "source": "/b"}]', b'{"id": "3", "source": "/c"}'):
        assert one("cloudevents", data, **CE) == structured
    odd = one("cloudevents", {"id": "1 %", "source": "/ä"}, "application/cloudevents+json")
    assert odd == one("cloudevents", b"", ce_id="1%20%25", ce_source="/%C3%A4", ce_type="t")
    assert one("cloudevents", {"id": "1", "source": "/b"}) != structured
    assert one("cloudevents", {"id": "1"}) is None


def test_slack_kinds():
    """Events, notices of rate limits, commands and interactivity all have ids."""
    assert one("slack", {"event_id": "Ev1", "api_app_id": "A"}) == "Ev1"
    limited = {"type": "app_rate_limited", "api_app_id": "A", "team_id": "T"}
    found = [one("slack", {**limited, "minute_rate_limited": minute}) for minute in (60, 120)]
    assert None not in found
    assert found[0] != found[1]
    assert one("slack", {"type": "event_callback"}) is None
    assert one("slack-commands", {"command": "/x", "trigger_id": "1.2"}, FORM) == "1.2"
    payload = {"payload": json.dumps({"type": "block_actions", "trigger_id": "3.4"})}
    assert one("slack-commands", payload, FORM) == "3.4"
    closed = {"payload": json.dumps({"type": "view_closed"})}
    first = one("slack-commands", closed, FORM, X_Slack_Request_Timestamp="1")
    assert first not in {None, one("slack-commands", closed, FORM, X_Slack_Request_Timestamp="2")}


CALL = {"CallSid": "CA1", "CallStatus": "in-progress"}
TOKEN = {"I_Twilio_Idempotency_Token": "t1"}


def test_twilio_kinds():
    """A message counts once for each status, a call once for each step."""
    sent, delivered = (
        one("twilio", {"MessageSid": "SM1", "MessageStatus": status}, FORM, **TOKEN)
        for status in ("sent", "delivered")
    )
    received = one("twilio", {"MessageSid": "SM1", "SmsStatus": "received"}, FORM)
    assert len({sent, delivered, received, None}) == 4
    steps = {
        one("twilio", CALL, FORM, **TOKEN),
        one("twilio", CALL, FORM, I_Twilio_Idempotency_Token="t2"),
        one("twilio", {**CALL, "Digits": "1"}, FORM),
        one("twilio", {**CALL, "Digits": "2"}, FORM),
        one("twilio", {**CALL, "SequenceNumber": "0"}, FORM, **TOKEN),
        one("twilio", {**CALL, "SequenceNumber": "1"}, FORM, **TOKEN),
    }
    assert len(steps - {None}) == 6
    assert one("twilio", {"AccountSid": "AC1"}, FORM) is None


def test_postmark_kinds():
    """Bounces have an id; opens, clicks and deliveries are told apart by what they say."""
    common = {"MessageID": "m", "Recipient": "a@example.com"}
    kinds = [
        {**common, "RecordType": "Bounce", "ID": 4, "BouncedAt": "1"},
        {**common, "RecordType": "Bounce", "ID": 5, "BouncedAt": "1"},
        {**common, "RecordType": "Open", "ReceivedAt": "1"},
        {**common, "RecordType": "Open", "ReceivedAt": "2"},
        {**common, "RecordType": "Click", "ReceivedAt": "1", "OriginalLink": "https://a"},
        {**common, "RecordType": "Click", "ReceivedAt": "1", "OriginalLink": "https://b"},
        {**common, "RecordType": "Delivery", "DeliveredAt": "1"},
        {**common, "RecordType": "SubscriptionChange", "ChangedAt": "1"},
        {"MessageID": "m", "OriginalRecipient": "in@example.com"},
    ]
    assert len({one("postmark", kind) for kind in kinds} - {None}) == len(kinds)
    assert one("postmark", {**common, "RecordType": "Open"}) is None


def test_mailgun_kinds():
    """Events are known by id and time, forwarded mail by its token."""
    event = {"event-data": {"id": "a", "timestamp": 1.5}}
    later = {"event-data": {"id": "a", "timestamp": 2.5}}
    assert one("mailgun", event) != one("mailgun", later)
    assert one("mailgun", {"token": "t", "timestamp": "1", "signature": "s"}, FORM) == "t"


def meta(*changes, **entry):
    return {"entry": [{"id": "1", "time": 5, "changes": list(changes), **entry}]}


def test_meta_kinds():
    """Messages, their statuses, withdrawn messages, postbacks and other fields are all distinct."""

    def whatsapp(**value):
        return meta({"field": "messages", "value": value})

    def messenger(**event):
        return {"entry": [{"id": "1", "time": 5, "messaging": [{"sender": {"id": "s"}, **event}]}]}

    status = {"id": "wamid.1", "timestamp": "7", "recipient_id": "r"}
    update = {"field": "account_update", "value": {"event": "VERIFIED"}}
    bodies = [
        whatsapp(messages=[{"id": "wamid.1", "from": "f", "timestamp": "7"}]),
        whatsapp(statuses=[{**status, "status": "sent"}]),
        whatsapp(statuses=[{**status, "status": "read"}]),
        whatsapp(errors=[{"code": 1}]),
        messenger(message={"mid": "m"}),
        messenger(message={"mid": "m", "is_deleted": True}),
        messenger(timestamp=1, postback={"title": "x"}),
        messenger(timestamp=2, postback={"title": "x"}),
        messenger(timestamp=1, read={"watermark": 3}),
        meta(update),
        {"entry": [{**meta(update)["entry"][0], "time": 6}]},
        {"entry": [{**meta(update)["entry"][0], "id": "2"}]},
        {"entry": [{"id": "1", "time": 5, "changed_fields": ["photos"]}]},
        {"entry": [{"id": "1", "time": 6, "changed_fields": ["photos"]}]},
    ]
    found = [one("meta", body) for body in bodies]
    assert None not in found
    assert len(set(found)) == len(bodies)
    assert one("meta", bodies[0]) == "wamid.1"


def test_a_whatsapp_delivery_of_both():
    """Messages and statuses in one delivery count one by one."""
    value = {
        "messages": [{"id": "wamid.1", "from": "f"}, {"id": "wamid.2", "from": "f"}],
        "statuses": [{"id": "wamid.1", "status": "read", "timestamp": "7"}],
    }
    found = ids("meta", meta({"field": "messages", "value": value}))
    assert len(set(found)) == 3


def test_graph_without_ids():
    """A notification without id needs an etag to be told from another change of one thing."""
    change = {"subscriptionId": "s", "resource": "r", "changeType": "updated"}
    tagged = {**change, "resourceData": {"id": "1", "@odata.etag": "a"}}
    other = {**change, "resourceData": {"id": "1", "@odata.etag": "b"}}
    found = ids("microsoft-graph", {"value": [tagged, other, change, {**change, "id": "n"}]})
    assert None not in found[:2]
    assert found[0] != found[1]
    assert found[2:] == [None, "n"]


def test_mandrill_kinds():
    """Clicks on two links, inbound mails of one second and changes of lists are distinct."""
    click = {"event": "click", "_id": "m", "ts": 1, "msg": {"email": "a"}}
    events = [
        {**click, "url": "https://a"},
        {**click, "url": "https://b"},
        {**click, "event": "open"},
        {"event": "inbound", "ts": 1, "msg": {"subject": "a"}},
        {"event": "inbound", "ts": 1, "msg": {"subject": "b"}},
        {"type": "blacklist", "action": "add", "ts": 1, "reject": {"email": "a"}},
        {"type": "blacklist", "action": "add", "ts": 1, "reject": {"email": "b"}},
    ]
    found = ids("mandrill", {"mandrill_events": json.dumps(events)}, FORM)
    assert len(set(found) - {None}) == len(events)


@pytest.mark.parametrize(
    ("name", "body", "headers"),
    [
        ("gitlab", {}, {"Idempotency_Key": "k"}),
        ("gitlab", {}, {"webhook_id": "k"}),
        ("svix", {}, {"webhook_id": "k"}),
        ("sns", {"any": "thing"}, {"x_amz_sns_message_id": "k"}),
        ("sns", b"raw", {"x_amz_sns_message_id": "k"}),
    ],
)
def test_ids_in_other_places(name, body, headers):
    """Where a provider has an id in one of two places, either is found."""
    assert one(name, body, **headers) == "k"


def test_ids_that_are_not_there():
    """Without its id a delivery has none, and is not known by something that is always the same."""
    assert one("gitlab", {"x": 1}, X_Gitlab_Event_UUID="u", X_Gitlab_Webhook_UUID="w") is None
    assert one("bitbucket", {"x": 1}, X_Hook_UUID="u") is None
    assert one("linear", {"webhookId": "u", "type": "Issue", "action": "update"}) is None
    assert one("shopify", {"id": 1}, X_Shopify_Shop_Domain="d", X_Shopify_Event_Id="e") is None
    assert one("nylas", {"data": {"object": {"id": "x"}}}) is None
    assert one("paddle", {"notification_id": "ntf_1"}) is None
    assert ids("sendgrid", [{"sg_message_id": "m"}]) == [None]
    assert ids("okta", {"eventId": "e", "data": {"events": [{}]}}) == [None]


def test_linear_without_its_header():
    """Older deliveries are known by what changed and when."""
    body = {"type": "Issue", "action": "update", "data": {"id": "1"}, "createdAt": "2026"}
    found = one("linear", body)
    assert found is not None
    assert found != one("linear", {**body, "createdAt": "2027"})


def test_sentry_headers_are_no_key():
    """What is not signed makes no other event of a delivery that was seen."""
    body = {"action": "created", "data": {"issue": {"id": "1"}}}
    named = {one("sentry", body, Sentry_Hook_Resource=name) for name in ("issue", "forged")}
    assert len(named | {one("sentry", body)}) == 1
    assert one("sentry", {**body, "action": "resolved"}) not in named


def test_adyen_items():
    """The outcome is part of the key, and an item in an unknown envelope is not lost."""
    item = {"pspReference": "p", "eventCode": "CAPTURE", "merchantAccountCode": "m"}
    wrapped = [{"NotificationRequestItem": {**item, "success": say}} for say in ("true", "false")]
    found = ids("adyen", {"notificationItems": [*wrapped, {"Other": item}]})
    assert len(found) == 3
    assert found[2] is None
    assert len(set(found[:2]) - {None}) == 2


def test_zoom_participants():
    """Two participants who join at one moment are two events."""

    def joined(user):
        inner = {"uuid": "u", "participant": {"user_id": user}}
        return {"event": "joined", "event_ts": 1, "payload": {"account_id": "a", "object": inner}}

    assert one("zoom", joined("1")) != one("zoom", joined("2"))
    deauthorized = {"event": "app_deauthorized", "event_ts": 1, "payload": {"account_id": "a"}}
    assert one("zoom", deauthorized) is not None


NAMES = st.sampled_from(
    [
        *("id", "type", "event", "events", "data", "payload", "object", "entry", "changes"),
        *("value", "messages", "statuses", "messaging", "message", "mid", "ts", "success"),
        *("event-data", "timestamp", "notificationItems", "NotificationRequestItem", "meta"),
        *("challenge", "plainToken", "Type", "SubscribeURL", "mandrill_events", "update_id"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=20,
)
BODIES = st.binary(max_size=50) | JSON.map(lambda value: json.dumps(value).encode())


@settings(deadline=None)
@given(
    body=BODIES | BODIES.map(lambda body: b"mandrill_events=" + body),
    content_type=st.sampled_from(["application/json", FORM, "application/cloudevents-batch+json"]),
    method=st.sampled_from(["POST", "GET", "HEAD", "OPTIONS"]),
    query=st.sampled_from([b"", b"challenge=x", b"hub.mode=subscribe", b"validationToken=%ff"]),
)
def test_hostile_requests(body, content_type, method, query):
    """Whatever comes, every row finds text or nothing in it, or refuses it."""
    headers = [(b"content-type", content_type.encode())]
    parsed = Parsed(headers, body, method=method, query=query)
    for preset in PRESETS.values():
        try:
            _read(preset, parsed)
        except RejectedDelivery as rejected:
            assert 400 <= rejected.status < 500  # noqa: PT017 - either way is right


def _read(preset, parsed):
    if preset.handshake is not None:
        preset.handshake.answer(parsed, (b"secret",))
    items = compile_items(preset.items)(parsed) if preset.items else [parsed]
    if preset.items:
        assert isinstance(compile_subset(preset.items)(parsed, range(len(items))), bytes)
    for item in items:
        for compiler, expression in (
            (compile_lenient, preset.event_type),
            (compile_lenient, preset.subject),
            (compile_time, preset.occurred_at),
            (compile_extractor, preset.event_id),
        ):
            if expression is not None:
                compiler(expression)(item)
