"""Standard Webhooks, and the senders that follow it."""

from __future__ import annotations

from .occasion import Occasion, Sample

__all__ = ["SAMPLES"]


def _webhook_id(at: Occasion) -> dict[str, str]:
    return {"webhook-id": f"msg_{at.uuid}"}


def _svix_id(at: Occasion) -> dict[str, str]:
    return {"svix-id": f"msg_{at.uuid}"}


SAMPLES = {
    "standard-webhooks": Sample(
        lambda at: {
            "type": "invoice.paid",
            "timestamp": at.happened_iso,
            "data": {"id": "inv_1", "amount": 1200},
        },
        _webhook_id,
    ),
    "svix": Sample(lambda _: {"type": "invoice.paid", "data": {"id": "inv_1"}}, _svix_id),
    "clerk": Sample(
        lambda at: {
            "object": "event",
            "type": "user.updated",
            "timestamp": at.happened * 1000,
            "data": {"id": "user_1", "first_name": "Ada"},
        },
        _svix_id,
    ),
    "resend": Sample(
        lambda at: {
            "type": "email.opened",
            "created_at": at.happened_iso,
            "data": {"email_id": "56761188-7520-42d8-8898-ff6fc54ce618", "to": ["a@example.com"]},
        },
        _svix_id,
    ),
    "agentmail": Sample(
        lambda at: {
            "type": "event",
            "event_type": "message.received",
            "event_id": f"evt_{at.number}",
            "message": {"inbox_id": "support@agentmail.to", "thread_id": "thd_1"},
        },
        _svix_id,
    ),
    "openai": Sample(
        lambda at: {
            "object": "event",
            "id": f"evt_{at.uuid}",
            "type": "response.completed",
            "created_at": at.happened,
            "data": {"id": "resp_1"},
        },
        lambda at: {"webhook-id": f"wh_{at.uuid}"},
    ),
}
