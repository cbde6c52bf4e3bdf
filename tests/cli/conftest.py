"""Fixtures of the operators' commands."""

from __future__ import annotations

from tests import every_store

a_redis = every_store.a_redis
url = every_store.empty_url
