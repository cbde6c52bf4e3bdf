"""Standard Webhooks, and the senders that follow it."""

# ruff: noqa: S106 - secret_format describes secrets and holds none

from __future__ import annotations

from dataclasses import replace

from ..extract import FirstOf
from ..preset import Preset
from ..schemes import StandardWebhooks
from .spans import CHECKED, DAY, HOUR

__all__ = ["ROWS"]

_WHSEC = "whsec_ and base64 of 24 to 64 bytes"

_STANDARD = Preset(
    name="standard-webhooks",
    title="Standard Webhooks",
    event_id="header:webhook-id",
    event_type="type",
    occurred_at="timestamp",
    scheme=StandardWebhooks(),
    secret_format=f"{_WHSEC}, or whpk_ and base64 of an Ed25519 public key",
    horizon=75 * HOUR + 35 * 60 + 5,
    deadline=15,
    remember=4 * DAY,
    docs="https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
    checked=CHECKED,
    unverified=("the retries of your sender: the horizon is that of the specification's example",),
    notes=(
        (
            "The specification advises to keep ids for 5 minutes, far less than its own example of "
            "retries takes."
        ),
    ),
)

_SVIX = Preset(
    name="svix",
    title="Svix",
    event_id=FirstOf("header:svix-id", "header:webhook-id"),
    event_type=FirstOf("type", "eventType"),
    scheme=StandardWebhooks(prefix="svix"),
    secret_format=_WHSEC,
    horizon=27 * HOUR + 35 * 60 + 5,
    deadline=15,
    remember=2 * DAY,
    docs="https://docs.svix.com/receiving/verifying-payloads/how-manual",
    checked=CHECKED,
    unverified=("how long two secrets overlap when one is rotated",),
    notes=(
        "One message goes to several endpoints under one id: give each its own source name.",
        "After an outage of days Svix sends all missed messages again under their old ids.",
    ),
)

ROWS = (
    _STANDARD,
    _SVIX,
    replace(
        _SVIX,
        name="clerk",
        title="Clerk",
        event_type="type",
        occurred_at="timestamp",
        subject="data.id",
        docs="https://clerk.com/docs/webhooks/overview",
        notes=("Clerk sends through Svix.",),
    ),
    replace(
        _SVIX,
        name="resend",
        title="Resend",
        event_type="type",
        occurred_at="created_at",
        subject="data.email_id",
        docs="https://resend.com/docs/webhooks/retries-and-replays",
        notes=("A replay from the dashboard keeps its id.",),
    ),
    replace(
        _SVIX,
        name="agentmail",
        title="AgentMail",
        event_type="event_type",
        subject="not_null(thread.thread_id, message.thread_id)",
        docs="https://docs.agentmail.to/webhook-verification",
        unverified=(
            "the retries, which are those of Svix",
            "that event_id in the body stays the same on a retry; svix-id does",
        ),
        notes=("The body has an event_id, too, which is another value than svix-id.",),
    ),
    replace(
        _STANDARD,
        name="openai",
        title="OpenAI",
        occurred_at="created_at",
        subject="data.id",
        scheme=StandardWebhooks(text_secrets=True),
        secret_format="whsec_ and base64; a secret without whsec_ is taken as it stands",
        horizon=3 * DAY,
        deadline=0,
        docs="https://platform.openai.com/docs/guides/webhooks",
        unverified=("deadline of the answer (some seconds)", "rotation of secrets"),
        notes=("webhook-id is the id to key on; the body's id is another value.",),
    ),
)
