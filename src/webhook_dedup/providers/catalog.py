"""The providers, one row each. A row that would need an ``if`` needs a named scheme instead."""

# ruff: noqa: S106 - secret_format describes secrets and holds none

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Mapping
from types import MappingProxyType

from ..errors import ConfigError
from .preset import Preset
from .schemes import HmacSignature, TimestampedHmac

__all__ = ["PRESETS", "Preset", "find_preset"]

_DAY = 86_400
_MIB = 1024 * 1024

_ROWS = (
    Preset(
        name="generic",
        title="Any sender with an HMAC of its own",
        event_id=None,
        scheme=HmacSignature(header="X-Signature", prefix="sha256=", prefix_optional=True),
        secret_optional=True,
        secret_format="any text; its UTF-8 bytes are the key",
        checked=dt.date(2026, 11, 22),
    ),
    Preset(
        name="stripe",
        title="Stripe",
        event_id="id",
        event_type="type",
        occurred_at="created",
        scheme=TimestampedHmac(header="Stripe-Signature"),
        secret_format="whsec_ and more text; all of it as it stands, not base64",
        horizon=3 * _DAY,
        replay=30 * _DAY,
        remember=4 * _DAY,
        docs="https://docs.stripe.com/webhooks",
        checked=dt.date(2026, 11, 22),
        unverified=(
            "deadline of the answer",
            "how long two secrets overlap when one is rotated",
            "that a replay signs the same id",
        ),
        notes=("Several endpoints of one account get the same id: give each its own source name.",),
    ),
    Preset(
        name="github",
        title="GitHub",
        event_id="header:X-GitHub-Delivery",
        event_type="header:X-GitHub-Event",
        scheme=HmacSignature(header="X-Hub-Signature-256", prefix="sha256="),
        secret_format="any text, as typed into the webhook's settings",
        replay=3 * _DAY,
        remember=4 * _DAY,
        max_body=25 * _MIB,
        docs="https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries",
        checked=dt.date(2026, 11, 22),
        unverified=(
            "that a delivery can be sent again for 3 days (a secondary source)",
            "whether hooks of a repository, its organization and an app share one id",
        ),
        notes=("Neither id nor time is signed: a captured delivery verifies under any other id.",),
    ),
)

PRESETS: Mapping[str, Preset] = MappingProxyType({row.name: row for row in _ROWS})
"""Every row by its name."""


def find_preset(name: str) -> Preset:
    """Return the row of a provider.

    Raises:
        ConfigError: There is none; the message offers the names that come near.
    """
    preset = PRESETS.get(name)
    if preset is None:
        near = difflib.get_close_matches(str(name).lower(), PRESETS, n=3)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        known = ", ".join(sorted(PRESETS))
        raise ConfigError(f"there is no provider {name!r}; {hint}known are: {known}")
    return preset
