"""Checks of what a scheme is built with."""

from __future__ import annotations

from ...errors import ConfigError
from ..parsed import is_header_name

__all__ = ["check_header_name", "check_tolerance"]


def check_header_name(name: str) -> None:
    """Refuse what HTTP does not allow as the name of a header."""
    if not is_header_name(name):
        raise ConfigError(f"{name!a} is not the name of a header")


def check_tolerance(tolerance: float | None) -> None:
    """Refuse a tolerance that lets nothing in."""
    if tolerance is not None and not tolerance > 0:
        raise ConfigError(f"tolerance must be more than 0 seconds, got {tolerance!r}")
