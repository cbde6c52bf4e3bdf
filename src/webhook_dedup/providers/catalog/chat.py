"""Chat."""

# ruff: noqa: S106 - secret_format describes secrets and holds none

from __future__ import annotations

from ..extract import FirstOf
from ..handshakes import (
    DiscordPing,
    Reply,
    SlackVerification,
)
from ..preset import Preset
from ..readers import BodyHash, FormJson
from ..schemes import (
    DiscordSignature,
    HeaderTimedHmac,
    SharedToken,
)
from .spans import CHECKED, DAY, HOUR, MINUTE

__all__ = ["ROWS"]

_SLACK_SECRET = "the app's signing secret, as it stands"  # noqa: S105 - describes it
_SLACK = HeaderTimedHmac(header="X-Slack-Signature", time_header="X-Slack-Request-Timestamp")
_DISCORD_SECRET = "the application's public key, 64 hex digits"  # noqa: S105 - describes it

_TELEGRAM_MESSAGE = (
    "not_null(message, edited_message, channel_post, edited_channel_post, business_message, "
    "edited_business_message, message_reaction, callback_query.message, my_chat_member, "
    "chat_member, chat_join_request)"
)

ROWS = (
    Preset(
        name="slack",
        title="Slack Events API",
        event_id=FirstOf(
            "event_id",
            ("type", "api_app_id", "team_id", "minute_rate_limited"),  # app_rate_limited
        ),
        event_type="not_null(event.type, type)",
        occurred_at="event_time",
        subject=FirstOf(
            ("event.channel", "not_null(event.thread_ts, event.ts)"),
            ("event.item.channel", "event.item.ts"),
            "event.channel",
        ),
        handshake=SlackVerification(),
        scheme=_SLACK,
        secret_format=_SLACK_SECRET,
        horizon=6 * MINUTE,
        deadline=3,
        remember=DAY,
        docs="https://docs.slack.dev/apis/events-api/",
        checked=CHECKED,
        unverified=(
            "the times between retries (a secondary source)",
            "delayed events",
            "the words in which Slack calls event_id unique",
        ),
        notes=(
            (
                "A retry may come while the first attempt still runs; X-Slack-Retry-Num is no "
                "proof of a duplicate."
            ),
            "Slash commands and interactivity have a row of their own: slack-commands.",
        ),
    ),
    Preset(
        name="slack-commands",
        title="Slack slash commands and interactivity",
        event_id=FirstOf(
            "form:trigger_id",
            FormJson("trigger_id", name="payload"),
            ("header:X-Slack-Request-Timestamp", BodyHash()),
        ),
        event_type=FirstOf("form:command", FormJson("type", name="payload")),
        subject=FirstOf("form:channel_id", FormJson("channel.id", name="payload")),
        scheme=_SLACK,
        secret_format=_SLACK_SECRET,
        deadline=3,
        remember=HOUR,
        ack="handled",
        ack_body=b"",
        docs="https://docs.slack.dev/interactivity/",
        checked=CHECKED,
        unverified=("whether Slack ever sends one of these again",),
        notes=(
            "The reply is what the user sees, so the handler answers before the event counts.",
            "What has no trigger_id is known by the hash of its body and the time of signing.",
        ),
    ),
    Preset(
        name="discord",
        title="Discord interactions",
        event_id="id",
        event_type="type",
        subject="channel_id",
        handshake=DiscordPing(1, Reply(body=b'{"type": 1}', content_type="application/json")),
        scheme=DiscordSignature(),
        secret_format=_DISCORD_SECRET,
        deadline=3,
        remember=HOUR,
        ack="handled",
        ack_body=b"",
        docs="https://docs.discord.com/developers/interactions/overview",
        checked=CHECKED,
        notes=(
            "The reply is what the user sees, so the handler answers before the event counts.",
            (
                "Discord never retries: a copy is a replay. It sends bad signatures on purpose and "
                "expects 401."
            ),
        ),
    ),
    Preset(
        name="discord-events",
        title="Discord webhook events",
        event_id=(
            "application_id",
            "event.type",
            "event.timestamp",
            "event.data.id?",
            "event.data.user.id?",
            "event.data.guild.id?",
        ),
        event_type="event.type",
        occurred_at="event.timestamp",
        subject="not_null(event.data.user.id, event.data.user_id)",
        handshake=DiscordPing(0, Reply(status=204)),
        scheme=DiscordSignature(),
        secret_format=_DISCORD_SECRET,
        horizon=10 * MINUTE,
        deadline=3,
        remember=HOUR,
        ack_status=204,
        ack_body=b"",
        docs="https://docs.discord.com/developers/events/webhook-events",
        checked=CHECKED,
        unverified=("that a retry keeps the event's timestamp",),
        notes=(
            "Ambiguous key: there is no event id; it is made of type, time and the ids within.",
        ),
    ),
    Preset(
        name="telegram",
        title="Telegram Bot API",
        event_id="update_id",
        event_type="keys(@)[?@ != 'update_id'] | [0]",
        occurred_at=f"{_TELEGRAM_MESSAGE}.date",
        subject=f"{_TELEGRAM_MESSAGE}.chat.id",
        scheme=SharedToken(header="X-Telegram-Bot-Api-Secret-Token"),
        secret_format="secret_token as given to setWebhook: 1 to 256 letters, digits, '_' and '-'",
        horizon=DAY,
        remember=2 * DAY,
        ack="handled",
        ack_body=b"",
        docs="https://core.telegram.org/bots/api#setwebhook",
        checked=CHECKED,
        unverified=("deadline of the answer",),
        notes=(
            "update_id belongs to one bot: give each bot its own source name.",
            "Deliveries are not signed: the secret token is all that proves them.",
            (
                "The reply may be a call of the Bot API, so the handler answers before the event "
                "counts. A failing update holds back the rest of its chat."
            ),
        ),
    ),
)
