"""Clouds and protocols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .occasion import Occasion, Sample

__all__ = ["SAMPLES"]


def _graph(at: Occasion) -> dict[str, Any]:
    return {
        "id": at.uuid,
        "subscriptionId": "00000000-0000-4000-8000-000000000001",
        "changeType": "updated",
        "resource": "Users/1/Messages/1",
        "tenantId": "tenant-1",
        "resourceData": {"id": "message-1"},
    }


def _graph_batch(items: Sequence[Any], _: Occasion) -> dict[str, Any]:
    return {"value": list(items)}


def _okta(at: Occasion) -> dict[str, Any]:
    return {
        "uuid": at.uuid,
        "published": at.happened_iso,
        "eventType": "user.session.start",
        "actor": {"id": "00u1", "type": "User"},
    }


def _okta_batch(items: Sequence[Any], _: Occasion) -> dict[str, Any]:
    return {"eventType": "com.okta.event_hook", "eventId": "hook-1", "data": {"events": [*items]}}


SAMPLES = {
    "generic": Sample(lambda at: {"id": at.event, "type": "example"}),
    "microsoft-graph": Sample(_graph, batch=_graph_batch),
    "sns": Sample(
        lambda at: {
            "Type": "Notification",
            "MessageId": at.uuid,
            "Subject": "Hello",
            "Message": "hello",
            "Timestamp": at.happened_iso,
        },
        content_type="text/plain; charset=UTF-8",
    ),
    "cloudevents": Sample(
        lambda at: {
            "specversion": "1.0",
            "id": at.event,
            "source": "https://example.com/orders",
            "type": "com.example.order",
            "time": at.happened_iso,
            "subject": "order-1",
        },
        batch=lambda items, _: list(items),
        content_type="application/cloudevents-batch+json",
    ),
    "okta": Sample(_okta, batch=_okta_batch),
}
