"""Stores beside which the inbox is durable."""

from ..every_store import durable_url

store = durable_url
