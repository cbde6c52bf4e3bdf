"""Email."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .occasion import Occasion, Sample

__all__ = ["SAMPLES"]


def _nylas(at: Occasion) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "type": "message.updated",
        "source": "/google/emails/realtime",
        "id": f"nylas-{at.event}",
        "time": at.happened,
        "webhook_delivery_attempt": at.attempt,
        "data": {"object": {"id": "message-1", "thread_id": "thread-1", "grant_id": "grant-1"}},
    }


def _sendgrid(at: Occasion) -> dict[str, Any]:
    return {
        "sg_event_id": f"sg-{at.event}",
        "sg_message_id": "message-1.filter1",
        "event": "open",
        "email": "a@example.com",
        "timestamp": at.happened,
    }


def _mailgun(at: Occasion) -> dict[str, Any]:
    return {
        "signature": {"token": f"{at.number:046}{at.attempt:04}"},
        "event-data": {
            "id": f"mailgun-{at.event}",
            "event": "opened",
            "timestamp": at.happened + 0.5,
            "message": {"headers": {"message-id": "message-1@example.com"}},
        },
    }


def _postmark(at: Occasion) -> dict[str, Any]:
    return {
        "RecordType": "Open",
        "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483",
        "Recipient": "a@example.com",
        "ReceivedAt": f"{at.happened_iso[:-1]}.{at.number % 10**6:06}Z",
    }


def _mandrill(at: Occasion) -> dict[str, Any]:
    return {
        "event": "open",
        "_id": "message-1",
        "ts": at.happened + at.number % 10**5,
        "msg": {"email": "a@example.com", "subject": "Hello"},
    }


def _mandrill_batch(items: Sequence[Any], _: Occasion) -> dict[str, Any]:
    return {"mandrill_events": list(items)}


def _mailchimp(at: Occasion) -> dict[str, str]:
    return {
        "type": "profile",
        "fired_at": at.happened_iso[:-1].replace("T", " "),
        "data[list_id]": "list-1",
        "data[id]": f"member-{at.event}",
        "data[email]": "a@example.com",
    }


SAMPLES = {
    "nylas": Sample(_nylas),
    "sendgrid": Sample(_sendgrid, batch=lambda items, _: list(items), ending=b"\r\n"),
    "mailgun": Sample(_mailgun),
    "postmark": Sample(_postmark),
    "mandrill": Sample(_mandrill, batch=_mandrill_batch, form=True),
    "mailchimp": Sample(_mailchimp, form=True),
}
