"""Shops, customers, calendars and forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .occasion import Occasion, Sample

__all__ = ["SAMPLES"]


def _shopify_headers(at: Occasion) -> Mapping[str, str]:
    return {
        "X-Shopify-Topic": "orders/updated",
        "X-Shopify-Shop-Domain": "example.myshopify.com",
        "X-Shopify-Event-Id": "98880550-7158-44d4-b7cd-2c97c8a091b5",
        "X-Shopify-Webhook-Id": at.uuid,
        "X-Shopify-Triggered-At": at.happened_iso,
    }


def _hubspot(at: Occasion) -> dict[str, Any]:
    return {
        "eventId": 100,
        "subscriptionId": 1,
        "portalId": 62515,
        "appId": 1,
        "occurredAt": at.happened * 1000 + at.number % 10**6,
        "subscriptionType": "contact.propertyChange",
        "objectId": 123,
        "propertyName": "email",
        "propertyValue": "a@example.com",
        "attemptNumber": at.attempt - 1,
    }


SAMPLES = {
    "shopify": Sample(
        lambda _: {"id": 1, "admin_graphql_api_id": "gid://shopify/Order/1"}, _shopify_headers
    ),
    "hubspot": Sample(_hubspot, batch=lambda items, _: list(items)),
    "calendly": Sample(
        lambda at: {
            "event": "invitee.created",
            "created_at": f"{at.happened_iso[:-1]}.{at.number % 10**6:06}Z",
            "payload": {"uri": "https://api.calendly.com/scheduled_events/1/invitees/1"},
        }
    ),
    "typeform": Sample(
        lambda at: {
            "event_id": f"typeform-{at.event}",
            "event_type": "form_response",
            "form_response": {"form_id": "form1", "token": "1", "submitted_at": at.happened_iso},
        }
    ),
}
