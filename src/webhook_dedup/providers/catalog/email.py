"""Email."""

# ruff: noqa: S106 - secret_format describes secrets and holds none

from __future__ import annotations

from ..extract import FirstOf
from ..handshakes import Probe, QueryEcho
from ..preset import Preset
from ..readers import Hashed
from ..schemes import (
    BasicAuth,
    HmacSignature,
    MailgunSignature,
    MandrillSignature,
    QueryToken,
    SendGridSignature,
)
from .spans import CHECKED, DAY, HOUR, MIB, MINUTE

__all__ = ["ROWS"]

ROWS = (
    Preset(
        name="nylas",
        title="Nylas v3",
        event_id="id",
        event_type="type",
        occurred_at="time",
        subject="not_null(data.object.thread_id, data.object.grant_id, data.grant_id)",
        handshake=QueryEcho("challenge"),
        scheme=HmacSignature(header="X-Nylas-Signature"),
        secret_format="webhook_secret, which is shown once when the webhook is made",
        deadline=10,
        remember=3 * DAY,
        docs="https://developer.nylas.com/docs/v3/notifications/",
        checked=CHECKED,
        unverified=(
            "how long it retries (two more tries)",
            "how long two secrets overlap when one is rotated",
        ),
        notes=(
            "data.object.id names the message, which has several events.",
            "webhook_delivery_attempt in the body counts attempts.",
            (
                "With compressed delivery the gzip bytes are signed: nothing before this library "
                "may unpack them."
            ),
        ),
    ),
    Preset(
        name="sendgrid",
        title="SendGrid Event Webhook",
        items="@",
        event_id="sg_event_id",
        event_type="event",
        occurred_at="timestamp",
        subject="sg_message_id",
        scheme=SendGridSignature(),
        secret_format="the verification key: base64 of a P-256 public key",
        horizon=DAY,
        remember=3 * DAY,
        docs="https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features",
        checked=CHECKED,
        unverified=("deadline of the answer", "whether a retry may regroup the events"),
        notes=(
            "sg_message_id is the message's, shared by all its events.",
            "No age of the signature is checked, as in SendGrid's own libraries.",
        ),
    ),
    Preset(
        name="mailgun",
        title="Mailgun",
        event_id=FirstOf(
            ('"event-data".id', 'to_string("event-data".timestamp)'),
            "form:token",
        ),
        event_type='"event-data".event',
        occurred_at='"event-data".timestamp',
        subject='"event-data".message.headers."message-id"',
        scheme=MailgunSignature(),
        secret_format="the HTTP webhook signing key, as it stands",
        horizon=8 * HOUR,
        remember=DAY,
        docs="https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks",
        checked=CHECKED,
        unverified=(
            "whether a retry keeps its token",
            "deadline of the answer",
            "rotation of the signing key",
        ),
        notes=(
            (
                "The body is not signed, only a time and a token: who sees one delivery can send "
                "any other for as long as the tolerance lasts."
            ),
            "event-data.id is unique for a day, so the key holds the event's time, too.",
            "Only 200 counts as success, and 406 ends the retries. 'delivered' is never retried.",
            "Forwarded mail with attachments may exceed max_body.",
        ),
    ),
    Preset(
        name="postmark",
        title="Postmark",
        event_id=FirstOf(
            ("RecordType", "ID"),
            (
                "RecordType",
                "MessageID",
                "Recipient",
                "not_null(ReceivedAt, DeliveredAt, BouncedAt, ChangedAt)",
                "OriginalLink?",
            ),
            ("OriginalRecipient", "MessageID"),
        ),
        event_type="RecordType",
        occurred_at="not_null(ReceivedAt, DeliveredAt, BouncedAt, ChangedAt)",
        subject="MessageID",
        scheme=BasicAuth(),
        secret_format="user:password, as written into the webhook's URL",
        horizon=10 * HOUR + 30 * MINUTE,
        remember=DAY,
        docs="https://postmarkapp.com/developer/webhooks/webhooks-overview",
        checked=CHECKED,
        unverified=(
            "how long it retries what is not inbound mail",
            "deadline of the answer",
            "that a retry keeps the record's id and times",
        ),
        notes=(
            "Deliveries are not signed: the user and password in the URL are all that proves them.",
            (
                "Ambiguous key for most types, which have no id: it is made of type, message, "
                "recipient and time."
            ),
            "403 ends the retries.",
            "Inbound mail with attachments may exceed max_body.",
        ),
    ),
    Preset(
        name="mandrill",
        title="Mailchimp Transactional (Mandrill)",
        items="form:mandrill_events:@",
        event_id=FirstOf(
            ("event", "_id", "to_string(ts)", "msg.email?", "url?"),
            ("event", "to_string(ts)", Hashed("msg")),
            ("type", "action", "to_string(ts)", Hashed("@")),
        ),
        event_type="not_null(event, type)",
        occurred_at="ts",
        subject="_id",
        handshake=Probe("HEAD"),
        scheme=MandrillSignature(),
        secret_format="the webhook's key, as it stands",
        remember=3 * DAY,
        max_body=25 * MIB,
        docs="https://mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/",
        checked=CHECKED,
        unverified=("how long it retries", "deadline of the answer", "the largest delivery"),
        notes=(
            (
                "_id is the message's, shared by all its events; the key is composite, and two "
                "clicks on one link within a second are one event."
            ),
            "The URL is signed exactly as it was registered, a user and password in it included.",
        ),
    ),
    Preset(
        name="mailchimp",
        title="Mailchimp Marketing",
        event_id=(
            "form:type",
            "form:fired_at",
            "form:data[list_id]",
            "form:data[id]?",
            "form:data[new_id]?",
            "form:data[email]?",
        ),
        event_type="form:type",
        occurred_at="form:fired_at",
        subject="form:data[id]",
        handshake=Probe("GET"),
        scheme=QueryToken(name="secret"),
        secret_format="any text that you put into the webhook's URL as ?secret=…",
        horizon=75 * MINUTE,
        deadline=10,
        remember=4 * HOUR,
        docs="https://mailchimp.com/developer/marketing/guides/sync-audience-data-webhooks/",
        checked=CHECKED,
        unverified=("the method of the handshake (GET, by a secondary source)",),
        notes=(
            "Deliveries are not signed: a secret in the URL is all that proves them.",
            "Ambiguous key: there is no id, and fired_at counts whole seconds.",
        ),
    ),
)
