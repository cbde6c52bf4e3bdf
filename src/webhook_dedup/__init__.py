"""Webhook handlers that run once.

Mount :class:`WebhookDedup` in a Starlette or FastAPI app, or put :func:`deduplicate` on a
function. See the README for the guarantees.
"""

from .asgi import WebhookDedup, event_of
from .decorator import deduplicate
from .dedup import Dedup
from .errors import (
    ConfigError,
    Discard,
    InProgress,
    Retry,
    SignatureError,
    StoreUnavailable,
    WebhookDedupError,
)
from .model import Delivery, Event
from .observe.log import JsonFormatter
from .observe.record import Record
from .policy import Policy, Retries
from .source import Source
from .stores import open_store

__all__ = [
    "ConfigError",
    "Dedup",
    "Delivery",
    "Discard",
    "Event",
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
    "deduplicate",
    "event_of",
    "open_store",
]

__version__ = "0.1.0"
