"""Webhook handlers that run once.

Mount :class:`WebhookDedup` in a Starlette or FastAPI app, or put :func:`deduplicate` on a
function. See the README for the guarantees.
"""

from typing import TYPE_CHECKING, Any

from .asgi import WebhookDedup, event_of
from .consumers import fan_out
from .decorator import deduplicate
from .dedup import Dedup
from .errors import (
    AlreadyDone,
    ConfigError,
    Discard,
    InProgress,
    Retry,
    SignatureError,
    StoreUnavailable,
    WebhookDedupError,
)
from .idempotency import IdempotencyMiddleware, idempotent
from .model import BatchItem, Delivery, Event
from .observe.log import JsonFormatter
from .observe.record import Record
from .once import once
from .policy import Policy, Retries
from .source import Source
from .stores import open_store

if TYPE_CHECKING:
    from .transaction import claim_in

__all__ = [
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

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "claim_in":
        from .transaction import claim_in  # noqa: PLC0415 - loads SQLAlchemy

        return claim_in
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
