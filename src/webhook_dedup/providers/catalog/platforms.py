"""Clouds, protocols, and senders of your own."""

# ruff: noqa: S106 - secret_format describes secrets and holds none

from __future__ import annotations

from ..extract import FirstOf
from ..handshakes import HeaderEcho, OriginPermission, QueryEcho
from ..preset import Preset
from ..readers import EscapedHeader
from ..schemes import (
    AnyOf,
    BearerToken,
    GraphClientState,
    HmacSignature,
    QueryToken,
    SharedToken,
    SnsSignature,
)
from ..subscriptions import SnsConfirmation
from .spans import CHECKED, DAY, HOUR

__all__ = ["ROWS"]

ROWS = (
    Preset(
        name="generic",
        title="Any sender with an HMAC of its own",
        event_id=None,
        scheme=HmacSignature(header="X-Signature", prefix="sha256=", prefix_optional=True),
        secret_optional=True,
        secret_format="any text; its UTF-8 bytes are the key",
        checked=CHECKED,
    ),
    Preset(
        name="microsoft-graph",
        title="Microsoft Graph change notifications",
        items="value",
        event_id=FirstOf(
            "id",
            (
                "subscriptionId",
                "resource",
                "changeType",
                "resourceData.id",
                'resourceData."@odata.etag"',
            ),
        ),
        event_type="not_null(changeType, lifecycleEvent)",
        subject="resource",
        handshake=QueryEcho("validationToken", method="POST"),
        scheme=GraphClientState(),
        secret_format="clientState as given to the subscription, at most 128 characters",
        horizon=4 * HOUR,
        deadline=3,
        remember=DAY,
        ack_status=202,
        ack_body=b"",
        docs="https://learn.microsoft.com/graph/change-notifications-delivery-webhooks",
        checked=CHECKED,
        unverified=(
            "that a retry keeps the id",
            "that every notification has an id",
            "how long a clientState may be",
        ),
        notes=(
            "Deliveries are not signed: clientState in each item is all that proves them.",
            (
                "Lifecycle notifications have no id: give them a source of their own with "
                "Policy(on_missing_id='process')."
            ),
        ),
    ),
    Preset(
        name="sns",
        title="AWS SNS over HTTP(S)",
        event_id=FirstOf("MessageId", "header:x-amz-sns-message-id"),
        event_type="Type",
        occurred_at="Timestamp",
        subject="TopicArn",
        handshake=SnsConfirmation(),
        scheme=SnsSignature(),
        secret_format="the ARN of the topic: a signature only proves that AWS sent it",
        horizon=HOUR,
        deadline=15,
        remember=4 * HOUR,
        docs="https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html",
        checked=CHECKED,
        unverified=("how often SNS delivers twice",),
        notes=(
            (
                "Subscriptions are answered and not confirmed. To confirm them, put "
                "SnsConfirmation(confirm=True) in place of the preset's handshake: it visits "
                "SubscribeURL."
            ),
            "Raw message delivery is not signed and needs verify=False.",
            (
                "The horizon is the longest that a delivery policy allows; by default it is under "
                "2 minutes. 4xx ends the retries."
            ),
        ),
    ),
    Preset(
        name="cloudevents",
        title="CloudEvents over HTTP",
        items="application/cloudevents-batch+json:@",
        event_id=FirstOf((EscapedHeader("ce-source"), EscapedHeader("ce-id")), ("source", "id")),
        event_type=FirstOf(EscapedHeader("ce-type"), "type"),
        occurred_at=FirstOf("header:ce-time", "time"),
        subject=FirstOf(EscapedHeader("ce-subject"), "subject"),
        handshake=OriginPermission(),
        scheme=AnyOf(BearerToken(), QueryToken()),
        secret_format="the access token, as it stands",
        retry_status=429,
        docs="https://github.com/cloudevents/spec/blob/main/cloudevents/http-webhook.md",
        checked=CHECKED,
        unverified=("the retries of your sender, which the specification leaves open",),
        notes=(
            "An event is known by source and id together.",
            "Deliveries are not signed: the access token is all that proves them.",
            "410 makes a sender stop for good.",
        ),
    ),
    Preset(
        name="okta",
        title="Okta event hooks",
        items="data.events",
        event_id="uuid",
        event_type="eventType",
        occurred_at="published",
        subject="actor.id",
        handshake=HeaderEcho("x-okta-verification-challenge", "verification"),
        scheme=SharedToken(header="Authorization"),
        secret_format="the authentication secret of the hook, as it stands",
        deadline=3,
        remember=DAY,
        docs="https://developer.okta.com/docs/concepts/event-hooks/",
        checked=CHECKED,
        unverified=("when the one retry comes", "how many events a delivery carries"),
        notes=(
            "eventId names the delivery; each event has a uuid of its own.",
            "Deliveries are not signed: the secret in the header is all that proves them.",
            "4xx is never retried, 5xx once.",
        ),
    ),
)
