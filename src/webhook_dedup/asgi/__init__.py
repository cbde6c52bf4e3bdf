"""The middleware's door: one small responder for each request."""

from .middleware import WebhookDedup
from .scopes import event_of

__all__ = ["WebhookDedup", "event_of"]
