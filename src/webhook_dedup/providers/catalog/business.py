"""Shops, customers, calendars and forms."""

# ruff: noqa: S106 - secret_format describes secrets and holds none

from __future__ import annotations

from ..preset import Preset
from ..schemes import HmacSignature, HubSpotSignature, TimestampedHmac
from .spans import CHECKED, DAY, HOUR

__all__ = ["ROWS"]

ROWS = (
    Preset(
        name="shopify",
        title="Shopify",
        event_id=("header:X-Shopify-Shop-Domain", "header:X-Shopify-Webhook-Id"),
        event_type="header:X-Shopify-Topic",
        occurred_at="header:X-Shopify-Triggered-At",
        subject="admin_graphql_api_id",
        scheme=HmacSignature(header="X-Shopify-Hmac-Sha256", encoding="base64"),
        secret_format="the app's client secret, as it stands",
        horizon=4 * HOUR,
        deadline=5,
        remember=2 * DAY,
        docs="https://shopify.dev/docs/apps/build/webhooks/verify-deliveries",
        checked=CHECKED,
        unverified=(
            "that a retry keeps X-Shopify-Webhook-Id (secondary sources)",
            "that eight failures in a row delete the subscription (a secondary source)",
        ),
        notes=(
            (
                "Ambiguous advice: Shopify has named Webhook-Id, then Event-Id, now Webhook-Id. "
                "X-Shopify-Event-Id is shared by all subscriptions that one action sets off, and "
                "would drop all but the first."
            ),
            "Neither id nor time is signed: a captured delivery verifies under any other id.",
            "For an hour after the client secret was rotated, give both.",
        ),
    ),
    Preset(
        name="hubspot",
        title="HubSpot app webhooks",
        items="@",
        event_id=(
            "portalId",
            "subscriptionId",
            "eventId",
            "occurredAt",
            "objectId?",
            "propertyName?",
        ),
        event_type="subscriptionType",
        occurred_at="occurredAt",
        subject="objectId",
        scheme=HubSpotSignature(),
        secret_format="the app's client secret, as it stands",
        horizon=DAY,
        deadline=5,
        remember=2 * DAY,
        docs="https://developers.hubspot.com/docs/api/webhooks",
        checked=CHECKED,
        unverified=(
            "which fields together are unique",
            "which answers end the retries (400, 401, 403, 404, 405 by a staff post)",
        ),
        notes=(
            "eventId alone is not unique, by HubSpot's own word.",
            "attemptNumber in each item counts attempts.",
            "401 ends the retries: with a wrong secret events are lost.",
        ),
    ),
    Preset(
        name="calendly",
        title="Calendly",
        event_id=("event", "created_at", "payload.uri"),
        event_type="event",
        occurred_at="created_at",
        subject="payload.uri",
        scheme=TimestampedHmac(header="Calendly-Webhook-Signature", tolerance=180),
        secret_format="the subscription's signing key, as it stands",
        horizon=DAY,
        remember=2 * DAY,
        docs="https://developer.calendly.com/api-docs/webhook-signatures",
        checked=CHECKED,
        unverified=(
            "deadline of the answer",
            "the tolerance of 180 s (a secondary source)",
            "that a retry is signed anew",
        ),
        notes=(
            "Ambiguous key: there is no event id; it is made of event, time and invitee.",
            "After 24 h of failures the subscription is disabled and must be made anew.",
        ),
    ),
    Preset(
        name="typeform",
        title="Typeform",
        event_id="event_id",
        event_type="event_type",
        occurred_at="form_response.submitted_at",
        subject="form_response.token",
        scheme=HmacSignature(header="Typeform-Signature", encoding="base64", prefix="sha256="),
        secret_format="any text, as typed into the webhook's settings",
        horizon=10 * HOUR,
        deadline=30,
        remember=DAY,
        docs="https://www.typeform.com/developers/webhooks/secure-your-webhooks/",
        checked=CHECKED,
        unverified=("that a retry keeps event_id",),
        notes=(
            "form_response.token names the submission and can stand in for event_id.",
            "404 and 410 disable the webhook.",
        ),
    ),
)
