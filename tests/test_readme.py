"""What the README and the docs call public is pinned."""

import webhook_dedup


def test_front_door():
    """What is public is pinned: a name is added or removed on purpose."""
    assert sorted(webhook_dedup.__all__) == [
        "AlreadyDone",
        "BatchItem",
        "ConfigError",
        "Dedup",
        "Delivery",
        "Discard",
        "Event",
        "IdempotencyMiddleware",
        "InProgress",
        "JsonFormatter",
        "Policy",
        "Record",
        "Retries",
        "Retry",
        "SignatureError",
        "Source",
        "StoreUnavailable",
        "WebhookDedup",
        "WebhookDedupError",
        "claim_in",
        "deduplicate",
        "event_of",
        "fan_out",
        "idempotent",
        "once",
        "open_store",
    ]
    for name in webhook_dedup.__all__:
        assert getattr(webhook_dedup, name).__doc__, f"{name} has no docstring"
