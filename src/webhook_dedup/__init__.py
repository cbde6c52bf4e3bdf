"""Webhook handlers that run once."""

__version__ = "0.1.0"
