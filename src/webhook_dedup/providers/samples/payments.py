"""Payments and billing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .occasion import Occasion, Sample

__all__ = ["SAMPLES"]

_MINUTE = 60


def _retry_number(at: Occasion) -> Mapping[str, str]:
    if at.attempt == 1:
        return {}
    return {
        "square-retry-number": str(at.attempt - 1),
        "square-retry-reason": "http_timeout",
    }


def _adyen(at: Occasion) -> dict[str, Any]:
    return {
        "NotificationRequestItem": {
            "pspReference": f"PSP{at.number:013}",
            "eventCode": "AUTHORISATION",
            "eventDate": at.happened_iso,
            "success": "true",
            "merchantAccountCode": "ExampleCOM",
            "merchantReference": "order-1",
            "amount": {"value": 1000, "currency": "EUR"},
            "additionalData": {},
        }
    }


def _adyen_batch(items: Sequence[Any], _: Occasion) -> dict[str, Any]:
    return {"live": "false", "notificationItems": list(items)}


def _issued(at: Occasion) -> float:
    # A retry of Plaid's is taken to repeat the token, so that its time is that of the event.
    return at.now // _MINUTE * _MINUTE + at.number % 59


SAMPLES = {
    "stripe": Sample(
        lambda at: {
            "id": f"evt_{at.event}",
            "object": "event",
            "type": "invoice.updated",
            "created": at.happened,
            "data": {"object": {"id": "in_1", "object": "invoice"}},
        }
    ),
    "paddle": Sample(
        lambda at: {
            "event_id": f"evt_{at.event}",
            "event_type": "transaction.updated",
            "occurred_at": at.happened_iso,
            "notification_id": f"ntf_{at.event}_{at.attempt}",
            "data": {"id": "txn_1", "status": "paid"},
        }
    ),
    "paypal": Sample(
        lambda at: {
            "id": f"WH-{at.event}",
            "event_type": "PAYMENT.SALE.COMPLETED",
            "create_time": at.happened_iso,
            "resource": {"id": "SALE-1", "state": "completed"},
        },
        lambda at: {"PAYPAL-TRANSMISSION-ID": at.attempt_uuid},
    ),
    "square": Sample(
        lambda at: {
            "merchant_id": "MERCHANT1",
            "type": "payment.updated",
            "event_id": at.uuid,
            "created_at": at.happened_iso,
            "data": {"type": "payment", "id": "PAYMENT1"},
        },
        _retry_number,
    ),
    "adyen": Sample(_adyen, batch=_adyen_batch),
    "razorpay": Sample(
        lambda at: {
            "entity": "event",
            "account_id": "acc_1",
            "event": "payment.captured",
            "created_at": at.happened,
            "payload": {"payment": {"entity": {"id": "pay_1", "amount": 100}}},
        },
        lambda at: {"x-razorpay-event-id": f"rzp_{at.event}"},
    ),
    "coinbase": Sample(
        lambda at: {
            "id": "6ad2cd3f-0000-4000-8000-000000000001",
            "attempt_number": at.attempt,
            "scheduled_for": at.happened_iso,
            "event": {
                "id": at.uuid,
                "type": "charge:pending",
                "created_at": at.happened_iso,
                "data": {"id": "CHARGE1"},
            },
        }
    ),
    "lemonsqueezy": Sample(
        lambda at: {
            "meta": {"event_name": "subscription_updated"},
            "data": {
                "type": "subscriptions",
                "id": "1",
                "attributes": {"updated_at": f"{at.happened_iso[:-1]}.{at.number % 10**6:06}Z"},
            },
        },
        lambda _: {"X-Event-Name": "subscription_updated"},
    ),
    "plaid": Sample(
        lambda _: {
            "webhook_type": "TRANSACTIONS",
            "webhook_code": "SYNC_UPDATES_AVAILABLE",
            "item_id": "item-1",
            "environment": "production",
        },
        sent=_issued,
    ),
}
