"""Code, issues, deployments and errors."""

# ruff: noqa: S106 - secret_format describes secrets and holds none

from __future__ import annotations

from ..extract import FirstOf
from ..preset import Preset
from ..readers import BodyHash
from ..schemes import AnyOf, HmacSignature, SharedToken, StandardWebhooks
from .spans import CHECKED, DAY, HOUR, MIB, MINUTE

__all__ = ["ROWS"]

ROWS = (
    Preset(
        name="github",
        title="GitHub",
        event_id="header:X-GitHub-Delivery",
        event_type="header:X-GitHub-Event",
        subject="repository.full_name",
        scheme=HmacSignature(header="X-Hub-Signature-256", prefix="sha256="),
        secret_format="any text, as typed into the webhook's settings",
        deadline=10,
        replay=3 * DAY,
        remember=4 * DAY,
        max_body=25 * MIB,
        docs="https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries",
        checked=CHECKED,
        unverified=(
            "that a delivery can be sent again for 3 days (a secondary source)",
            "whether hooks of a repository, its organization and an app share one id",
        ),
        notes=(
            "Neither id nor time is signed: a captured delivery verifies under any other id.",
            "GitHub never retries by itself; a person may, under the same id.",
        ),
    ),
    Preset(
        name="gitlab",
        title="GitLab",
        event_id=FirstOf("header:webhook-id", "header:Idempotency-Key"),
        event_type="header:X-Gitlab-Event",
        subject="project.path_with_namespace",
        scheme=AnyOf(StandardWebhooks(), SharedToken(header="X-Gitlab-Token")),
        secret_format="a signing token (whsec_ and base64), or the secret token as it stands",
        deadline=10,
        remember=3 * DAY,
        docs="https://docs.gitlab.com/user/project/integrations/webhooks/",
        checked=CHECKED,
        unverified=(
            "whether GitLab retries by itself",
            "whether signing tokens are on everywhere",
            "rotation of secrets",
        ),
        notes=(
            (
                "X-Gitlab-Event-UUID is shared by recursive hooks and X-Gitlab-Webhook-UUID is for "
                "logs: neither is an id to key on."
            ),
            "Before GitLab 17.4 there is no id.",
            "With a secret token deliveries are not signed: the token is all that proves them.",
            "Four failures in a row disable the webhook for a while, 40 for good.",
        ),
    ),
    Preset(
        name="bitbucket",
        title="Bitbucket Cloud",
        event_id="header:X-Request-UUID",
        event_type="header:X-Event-Key",
        subject="repository.full_name",
        scheme=HmacSignature(header="X-Hub-Signature", prefix="sha256="),
        secret_format="any text, as typed into the webhook's settings",
        horizon=MINUTE,
        deadline=10,
        remember=HOUR,
        docs="https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/",
        checked=CHECKED,
        unverified=("that a retry keeps X-Request-UUID",),
        notes=(
            "X-Hook-UUID is the webhook's own id, the same in every delivery.",
            "Neither id nor time is signed: a captured delivery verifies under any other id.",
            "push.changes[] are the parts of one event.",
        ),
    ),
    Preset(
        name="jira",
        title="Jira Cloud",
        event_id="header:X-Atlassian-Webhook-Identifier",
        event_type="webhookEvent",
        occurred_at="timestamp",
        subject="issue.key",
        scheme=HmacSignature(header="X-Hub-Signature", prefix="sha256="),
        secret_format="any text, as typed into the webhook's settings",
        horizon=75 * MINUTE,
        remember=4 * HOUR,
        docs="https://developer.atlassian.com/cloud/jira/platform/webhooks/",
        checked=CHECKED,
        unverified=("deadline of the answer",),
        notes=(
            (
                "The id is unique within one site: give each site its own source name, or a "
                "{tenant} in the path."
            ),
            "Neither id nor time is signed: a captured delivery verifies under any other id.",
            "Connect apps sign with a JWT, which this row does not check.",
        ),
    ),
    Preset(
        name="linear",
        title="Linear",
        event_id=FirstOf(
            "header:Linear-Delivery",
            ("type", "action", "data.id", "createdAt"),
        ),
        event_type="join('.', [type, action])",
        occurred_at="createdAt",
        subject="not_null(data.issueId, data.id)",
        scheme=HmacSignature(header="Linear-Signature"),
        secret_format="the webhook's signing secret, as it stands",
        horizon=7 * HOUR + MINUTE,
        deadline=5,
        remember=DAY,
        docs="https://linear.app/developers/webhooks",
        checked=CHECKED,
        unverified=(
            "that a retry keeps Linear-Delivery",
            "whether a retry renews webhookTimestamp",
            "rotation of secrets",
        ),
        notes=(
            "webhookId is the webhook's own id, the same in every delivery.",
            "Linear-Delivery is not signed: a captured delivery verifies under any other id.",
            (
                "webhookTimestamp is not held against the clock: were it not renewed, every retry "
                "would be refused."
            ),
            "Only 200 counts as success.",
        ),
    ),
    Preset(
        name="sentry",
        title="Sentry integration platform",
        event_id=("action", BodyHash()),
        event_type="join('.', ['sentry', action])",
        subject="not_null(data.issue.id, data.event.issue_id, data.error.issue_id)",
        scheme=HmacSignature(header="Sentry-Hook-Signature"),
        secret_format="the integration's client secret, as it stands",
        horizon=15 * MINUTE,
        deadline=1,
        remember=HOUR,
        docs="https://docs.sentry.io/organization/integrations/integration-platform/webhooks/",
        checked=CHECKED,
        unverified=(
            "retries and Request-ID, read from Sentry's source, not its pages",
            "that a retry repeats the body",
        ),
        notes=(
            (
                "Ambiguous key: Request-ID is new with every attempt, so the key is action and the "
                "hash of the body. An issue that changes and changes back without any new event "
                "may count as one event; a shorter Policy(ttl=3600) suits this source."
            ),
            "Sentry-Hook-Resource is not signed, so it is no part of the key; the body tells it.",
            "The answer is due within a second.",
        ),
    ),
    Preset(
        name="vercel",
        title="Vercel",
        event_id="id",
        event_type="type",
        occurred_at="createdAt",
        subject="not_null(payload.deployment.id, payload.project.id)",
        scheme=HmacSignature(header="x-vercel-signature", algorithm="sha1"),
        secret_format="the webhook's secret, or the integration's client secret, as it stands",
        horizon=DAY,
        deadline=30,
        remember=2 * DAY,
        docs="https://vercel.com/docs/webhooks/webhooks-api",
        checked=CHECKED,
        unverified=(
            "deadline of the answer and retries (a secondary source)",
            "that a retry keeps the id",
            "rotation of secrets",
        ),
    ),
)
