"""The providers, one row each. A row that would need an ``if`` needs a named scheme instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from types import MappingProxyType

from ...errors import ConfigError
from ..preset import Preset
from . import business, chat, developer, email, messaging, payments, platforms, standard

__all__ = ["PRESETS", "find_preset"]

_FAMILIES = (standard, payments, email, chat, messaging, developer, business, platforms)

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {row.name: row for family in _FAMILIES for row in family.ROWS}
)
"""Every row by its name."""


def find_preset(name: str) -> Preset:
    """Return the row of a provider.

    Raises:
        ConfigError: There is none; the message offers the names that come near.
    """
    preset = PRESETS.get(name)
    if preset is None:
        near = _near(str(name).lower())
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        known = ", ".join(sorted(PRESETS))
        raise ConfigError(f"there is no provider {name!r}; {hint}known are: {known}")
    return preset


def _near(name: str) -> list[str]:
    titled = [row.name for row in PRESETS.values() if name in re.findall(r"\w+", row.title.lower())]
    return titled[:3] or difflib.get_close_matches(name, PRESETS, n=3)
