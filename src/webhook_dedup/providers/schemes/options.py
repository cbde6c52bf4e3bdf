"""Checks of what a scheme is built with."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import ConfigError
from ..parsed import is_header_name

__all__ = ["check_choice", "check_header_name", "check_tolerance"]


def check_header_name(name: str) -> None:
    """Refuse what HTTP does not allow as the name of a header."""
    if not is_header_name(name):
        raise ConfigError(f"{name!a} is not the name of a header")


def check_choice(what: str, value: str, choices: Sequence[str]) -> None:
    """Refuse what is none of the choices."""
    if value not in choices:
        raise ConfigError(f"{what} must be one of {', '.join(choices)}; got {value!r}")


def check_tolerance(tolerance: float | None) -> None:
    """Refuse a tolerance that lets nothing in."""
    if tolerance is not None and not tolerance > 0:
        raise ConfigError(f"tolerance must be more than 0 seconds, got {tolerance!r}")
