"""Chat, telephony and meetings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .occasion import Occasion, Sample

__all__ = ["SAMPLES"]


def _slack_retry(at: Occasion) -> Mapping[str, str]:
    if at.attempt == 1:
        return {}
    return {"X-Slack-Retry-Num": str(at.attempt - 1), "X-Slack-Retry-Reason": "http_timeout"}


def _slack(at: Occasion) -> dict[str, Any]:
    return {
        "type": "event_callback",
        "team_id": "T1",
        "api_app_id": "A1",
        "event_id": f"Ev{at.event}",
        "event_time": at.happened,
        "event": {
            "type": "message",
            "channel": "C1",
            "user": "U1",
            "text": "hello",
            "ts": f"{at.happened}.000100",
        },
    }


def _slack_command(at: Occasion) -> dict[str, str]:
    return {
        "command": "/deploy",
        "text": "main",
        "team_id": "T1",
        "channel_id": "C1",
        "user_id": "U1",
        "trigger_id": f"{at.number}.1.{at.uuid}",
    }


def _discord_event(at: Occasion) -> dict[str, Any]:
    return {
        "version": 1,
        "application_id": "1234560123453231555",
        "type": 1,
        "event": {
            "type": "APPLICATION_AUTHORIZED",
            "timestamp": f"{at.happened_iso[:-1]}.{at.number % 10**6:06}",
            "data": {"integration_type": 1, "user": {"id": "1"}},
        },
    }


def _telegram(at: Occasion) -> dict[str, Any]:
    message = {"message_id": 1, "date": at.happened, "chat": {"id": 1}, "text": "hello"}
    return {"update_id": at.number, "message": message}


def _twilio(_: Occasion) -> dict[str, str]:
    """Return one step of a call: its form is that of any other step."""
    return {
        "AccountSid": f"AC{0:032}",
        "CallSid": f"CA{1:032}",
        "CallStatus": "in-progress",
        "Digits": "1",
        "From": "+15005550006",
        "To": "+15005550001",
    }


def _whatsapp(at: Occasion) -> dict[str, Any]:
    return {
        "from": "15550001",
        "id": f"wamid.{at.event}",
        "timestamp": str(at.happened),
        "type": "text",
        "text": {"body": "hello"},
    }


def _whatsapp_batch(messages: Sequence[Any], _: Occasion) -> dict[str, Any]:
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"phone_number_id": "1"},
        "messages": list(messages),
    }
    change = {"field": "messages", "value": value}
    return {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}


def _zoom(at: Occasion) -> dict[str, Any]:
    return {
        "event": "meeting.participant_joined",
        "event_ts": at.happened * 1000 + at.number % 1000,
        "payload": {
            "account_id": "account-1",
            "object": {
                "id": "123",
                "uuid": "4444AAAiAAAAAiAiAiiAii==",
                "participant": {"user_id": "16778240", "user_name": "Ada"},
            },
        },
    }


def _intercom(at: Occasion) -> dict[str, Any]:
    return {
        "type": "notification_event",
        "id": f"notif_{at.event}",
        "topic": "conversation.user.replied",
        "first_sent_at": at.happened,
        "delivery_attempts": at.attempt,
        "delivery_status": "pending",
        "data": {"type": "notification_event_data", "item": {"id": "conversation-1"}},
    }


SAMPLES = {
    "slack": Sample(_slack, _slack_retry),
    "slack-commands": Sample(_slack_command, form=True),
    "discord": Sample(
        lambda at: {
            "id": str(at.number),
            "application_id": "1",
            "type": 2,
            "channel_id": "1",
            "data": {"id": "1", "name": "deploy"},
        }
    ),
    "discord-events": Sample(_discord_event),
    "telegram": Sample(_telegram),
    "twilio": Sample(_twilio, lambda at: {"I-Twilio-Idempotency-Token": at.uuid}, form=True),
    "meta": Sample(_whatsapp, batch=_whatsapp_batch),
    "zoom": Sample(_zoom),
    "intercom": Sample(_intercom),
}
