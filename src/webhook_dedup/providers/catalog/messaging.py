"""Telephony, messages and meetings."""

# ruff: noqa: S106 - secret_format describes secrets and holds none

from __future__ import annotations

from ..extract import FirstOf
from ..handshakes import MetaVerification, Probe, ZoomValidation
from ..preset import Preset
from ..readers import BodyHash, Hashed, Outer
from ..schemes import HeaderTimedHmac, HmacSignature, TwilioSignature
from .spans import CHECKED, DAY, HOUR, MINUTE

__all__ = ["ROWS"]

ROWS = (
    Preset(
        name="twilio",
        title="Twilio voice and messaging",
        event_id=FirstOf(
            ("form:MessageSid", "form:MessageStatus"),
            ("form:MessageSid", "form:SmsStatus?"),
            ("form:CallSid", "form:CallStatus", "form:SequenceNumber"),
            ("form:CallSid", "header:I-Twilio-Idempotency-Token"),
            ("form:CallSid", BodyHash()),
        ),
        event_type=FirstOf("form:MessageStatus", "form:SmsStatus", "form:CallStatus"),
        occurred_at="form:Timestamp",
        subject=FirstOf("form:CallSid", "form:MessageSid"),
        scheme=TwilioSignature(),
        secret_format="the account's auth token, as it stands",
        horizon=15,
        deadline=15,
        remember=HOUR,
        ack="handled",
        ack_body=b"",
        docs="https://www.twilio.com/docs/usage/webhooks/webhooks-security",
        checked=CHECKED,
        unverified=(
            "the header I-Twilio-Idempotency-Token, seen in Twilio's own code only",
            "the order of status callbacks",
            "batches of Event Streams, for which the row cloudevents is the better start",
        ),
        notes=(
            (
                "Ambiguous key: there is no event id. A message or a call is known with its "
                "status; the steps of one call by the idempotency token, or without one by the "
                "hash of the form, where the same key pressed twice in one menu is one event."
            ),
            "The reply is often TwiML, so the handler answers before the event counts.",
            (
                "The idempotency token is not signed: a captured step of a call verifies under "
                "any other token."
            ),
            "By default only connections that fail are tried again.",
            "Callbacks by GET are no deliveries to this library.",
        ),
    ),
    Preset(
        name="meta",
        title="Meta: WhatsApp, Messenger, Instagram, Graph webhooks",
        items=(
            "entry[*].changes[*].value.messages[*]",
            "entry[*].changes[*].value.statuses[*]",
            "entry[*].messaging[*]",
            "entry[*].standby[*]",
            "entry[*].changes[*]",
            "entry[*]",
        ),
        event_id=FirstOf(
            ("id", "status", "timestamp"),
            "from && id",
            ("message.mid", "to_string(message.is_deleted)"),
            ("field", Hashed("value"), Outer("join(':', [to_string(id), to_string(time)])")),
            (Hashed("@"), Outer("join(':', [to_string(id), to_string(time)])")),
        ),
        event_type="not_null(field, status, type)",
        occurred_at="not_null(timestamp, time)",
        subject="not_null(from, recipient_id, sender.id)",
        handshake=MetaVerification(),
        scheme=HmacSignature(header="X-Hub-Signature-256", prefix="sha256="),
        secret_format="the app secret, as it stands",
        horizon=7 * DAY,
        deadline=20,
        remember=8 * DAY,
        docs="https://developers.facebook.com/docs/graph-api/webhooks/getting-started",
        checked=CHECKED,
        unverified=(
            "that WhatsApp retries for 7 days (a secondary source); Graph documents 36 h",
            "deadline of the answer, 20 s by old pages on Messenger",
            "that a retry keeps a message's id, which is inferred",
            "how many updates a delivery carries (up to 1,000)",
        ),
        notes=(
            "entry.id names the account or page; messages and statuses have ids of their own.",
            (
                "Ambiguous key for other fields, which have no id: it is made of account, time and "
                "the hash of the value."
            ),
            "The verify token of the app's settings is given as verify_token=.",
        ),
    ),
    Preset(
        name="zoom",
        title="Zoom",
        event_id=(
            "event",
            "event_ts",
            "payload.account_id?",
            "not_null(payload.object.uuid, payload.object.id)?",
            (
                "not_null(payload.object.participant.participant_uuid, "
                "payload.object.participant.user_id)?"
            ),
        ),
        event_type="event",
        occurred_at="event_ts",
        subject="not_null(payload.object.id, payload.account_id)",
        handshake=ZoomValidation(),
        scheme=HeaderTimedHmac(header="x-zm-signature", time_header="x-zm-request-timestamp"),
        secret_format="the app's secret token, as it stands",
        horizon=85 * MINUTE,
        deadline=3,
        remember=4 * HOUR,
        docs="https://developers.zoom.us/docs/api/webhooks/",
        checked=CHECKED,
        unverified=(
            "whether a retry is signed anew, and its body the same",
            "the tolerance of 300 s, which is customary",
            "whether the validation request is signed",
        ),
        notes=(
            (
                "Ambiguous key: there is no event id; it is made of event, time, account, object "
                "and participant."
            ),
            "3xx and 4xx end the retries: with a wrong secret events are lost.",
        ),
    ),
    Preset(
        name="intercom",
        title="Intercom",
        event_id="id",
        event_type="topic",
        occurred_at="first_sent_at",
        subject="data.item.id",
        handshake=Probe("HEAD"),
        scheme=HmacSignature(header="X-Hub-Signature", algorithm="sha1", prefix="sha1="),
        secret_format="the app's client secret, as it stands",
        horizon=2 * HOUR,
        deadline=5,
        remember=DAY,
        retry_status=429,
        docs="https://developers.intercom.com/docs/webhooks/webhook-notifications",
        checked=CHECKED,
        unverified=(
            "how often it retries: 2 h are documented for 429 only",
            "deadline of the answer, 5 s by a secondary source",
            "that a retry keeps the id",
        ),
        notes=(
            "delivery_attempts in the body counts attempts.",
            "Answers within 500 ms keep the endpoint's priority.",
        ),
    ),
)
