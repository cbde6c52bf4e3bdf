"""Payments and billing."""

# ruff: noqa: S106 - secret_format describes secrets and holds none

from __future__ import annotations

from ..extract import FirstOf
from ..preset import Preset
from ..readers import JwtPayload
from ..schemes import (
    AdyenSignature,
    HmacSignature,
    PayPalSignature,
    PlaidJwt,
    TimestampedHmac,
    UrlHmac,
)
from .spans import CHECKED, DAY, HOUR

__all__ = ["ROWS"]

ROWS = (
    Preset(
        name="stripe",
        title="Stripe",
        event_id="id",
        event_type="type",
        occurred_at="created",
        subject="not_null(data.object.id, related_object.id)",
        scheme=TimestampedHmac(header="Stripe-Signature"),
        secret_format="whsec_ and more text; all of it as it stands, not base64",
        horizon=3 * DAY,
        replay=30 * DAY,
        remember=4 * DAY,
        docs="https://docs.stripe.com/webhooks",
        checked=CHECKED,
        unverified=(
            "deadline of the answer",
            "how long two secrets overlap when one is rotated",
            "that a replay signs the same id",
        ),
        notes=(
            "Several endpoints of one account get the same id: give each its own source name.",
            (
                "Two events may tell of one change; where that matters, key on type and "
                "data.object.id."
            ),
        ),
    ),
    Preset(
        name="paddle",
        title="Paddle Billing",
        event_id="event_id",
        event_type="event_type",
        occurred_at="occurred_at",
        subject="data.id",
        scheme=TimestampedHmac(
            header="Paddle-Signature",
            time_key="ts",
            signature_key="h1",
            item_separator=";",
            joiner=":",
            tolerance=5,
        ),
        secret_format="pdl_ntfset_ and more text, as it stands",
        horizon=3 * DAY,
        deadline=5,
        remember=4 * DAY,
        docs="https://developer.paddle.com/webhooks/signature-verification",
        checked=CHECKED,
        unverified=("the ids of a replay",),
        notes=(
            "notification_id belongs to one destination; event_id is the event's.",
            (
                "Paddle's libraries allow 5 s between signing and arrival, and so does this row; "
                "for slow proxies pass signature= with a larger tolerance."
            ),
        ),
    ),
    Preset(
        name="paypal",
        title="PayPal",
        event_id="id",
        event_type="event_type",
        occurred_at="create_time",
        subject="resource.id",
        scheme=PayPalSignature(),
        secret_format="the webhook's id, as the app's settings show it",
        horizon=3 * DAY,
        remember=4 * DAY,
        docs="https://developer.paypal.com/api/rest/webhooks/",
        checked=CHECKED,
        unverified=(
            "deadline of the answer",
            "that an automatic retry keeps the id (a resend does), or the transmission's id",
            "the signature against a published delivery: none comes with its certificate",
        ),
        notes=(
            "Only a CRC-32 of the body is signed.",
            "PAYPAL-TRANSMISSION-ID names the transmission, not the event.",
            "Deliveries of PayPal's simulator do not verify.",
        ),
    ),
    Preset(
        name="square",
        title="Square",
        event_id="event_id",
        event_type="type",
        occurred_at="created_at",
        subject="data.id",
        scheme=UrlHmac(header="x-square-hmacsha256-signature"),
        secret_format="the subscription's signature key, as it stands",
        horizon=86_700,
        deadline=10,
        remember=3 * DAY,
        docs="https://developer.squareup.com/docs/webhooks/step3validate",
        checked=CHECKED,
        unverified=("how long it retries: 24 h by the present page, 48 or 72 h by older ones",),
        notes=("The URL is signed exactly as it was registered.",),
    ),
    Preset(
        name="adyen",
        title="Adyen standard webhooks",
        items=("notificationItems[*].NotificationRequestItem", "notificationItems[*]"),
        event_id=("pspReference", "eventCode", "to_string(success)", "merchantAccountCode"),
        event_type="eventCode",
        occurred_at="eventDate",
        subject="not_null(originalReference, pspReference)",
        scheme=AdyenSignature(),
        secret_format="the HMAC key in hex",
        horizon=30 * DAY,
        remember=35 * DAY,
        ack_body=b"[accepted]",
        ack_content_type="text/plain",
        docs="https://docs.adyen.com/development-resources/webhooks/verify-hmac-signatures",
        checked=CHECKED,
        unverified=(
            "the words in which Adyen names this key",
            "deadline of the answer",
            "how many items a delivery carries",
            "that a retry repeats all fields, which is inferred",
        ),
        notes=(
            "There is no event id; events of one pspReference, code and outcome are one event.",
            (
                "Each item is signed by itself, and amounts and references only: not reason, nor "
                "most of additionalData."
            ),
            "A failing delivery holds back those after it.",
            "Banking and management webhooks have another envelope: use generic for them.",
        ),
    ),
    Preset(
        name="razorpay",
        title="Razorpay",
        event_id="header:x-razorpay-event-id",
        event_type="event",
        occurred_at="created_at",
        subject="payload.payment.entity.id",
        scheme=HmacSignature(header="X-Razorpay-Signature"),
        secret_format="any text, as typed into the webhook's settings",
        horizon=DAY,
        deadline=5,
        replay=15 * DAY,
        remember=2 * DAY,
        docs="https://razorpay.com/docs/webhooks/validate-test/",
        checked=CHECKED,
        notes=(
            "After 24 h of failures the webhook is disabled.",
            "Retries keep the signature of the old secret: give both for a day after a change.",
            "Neither id nor time is signed: a captured delivery verifies under any other id.",
        ),
    ),
    Preset(
        name="coinbase",
        title="Coinbase Commerce",
        event_id="event.id",
        event_type="event.type",
        occurred_at="event.created_at",
        subject="event.data.id",
        scheme=HmacSignature(header="X-CC-Webhook-Signature"),
        secret_format="the shared secret of the webhook, as it stands",
        horizon=3 * DAY,
        remember=4 * DAY,
        docs="https://docs.cdp.coinbase.com/commerce/webhooks/overview",
        checked=CHECKED,
        unverified=(
            "deadline of the answer",
            "that a retry keeps the inner id, which is inferred",
            "whether a retry keeps the outer id",
        ),
        notes=("The outer id and attempt_number belong to the delivery, not to the event.",),
    ),
    Preset(
        name="lemonsqueezy",
        title="Lemon Squeezy",
        event_id=FirstOf(
            ("meta.event_name", "data.type", "data.id", "data.attributes.updated_at"),
            ("header:X-Event-Name", "data.type", "data.id", "data.attributes.updated_at"),
        ),
        event_type=FirstOf("meta.event_name", "header:X-Event-Name"),
        occurred_at="data.attributes.updated_at",
        subject="data.id",
        scheme=HmacSignature(header="X-Signature"),
        secret_format="6 to 40 characters, as typed into the webhook's settings",
        horizon=155,
        remember=HOUR,
        docs="https://docs.lemonsqueezy.com/help/webhooks/webhook-requests",
        checked=CHECKED,
        unverified=(
            "deadline of the answer",
            "meta.event_name in the body, in place of which the header is read",
            "whether the dashboard can send an event again",
        ),
        notes=(
            "There is no event id: the key is made of event, object and time of its last change.",
            "X-Event-Name, read where the body names no event, is not signed.",
            "Only 200 counts as success.",
        ),
    ),
    Preset(
        name="plaid",
        title="Plaid",
        event_id=("webhook_type", "webhook_code", "item_id?", JwtPayload("Plaid-Verification")),
        event_type="webhook_code",
        subject="item_id",
        scheme=PlaidJwt(),
        secret_format="client_id:secret of the account, or a verification key as JWK",
        horizon=DAY,
        deadline=10,
        remember=2 * DAY,
        docs="https://plaid.com/docs/api/webhooks/webhook-verification/",
        checked=CHECKED,
        unverified=("whether a retry repeats the token of the first attempt",),
        notes=(
            (
                "Ambiguous key: there is no event id, and two real events may have equal bodies "
                "(SYNC_UPDATES_AVAILABLE). The key holds the hash of the body and the time at "
                "which Plaid signed, so that no event is lost; a retry that is signed anew runs "
                "again."
            ),
        ),
    ),
)
