"""The fixtures of the plugin, also where this checkout was installed before it had one."""

from __future__ import annotations

from webhook_dedup.testing.plugin import failing_store, fake_clock, signed_delivery, webhook_secret

__all__ = ["failing_store", "fake_clock", "signed_delivery", "webhook_secret"]
