"""``webhook-dedup providers``: what is known about each sender."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from ..providers import PRESETS, Preset, find_preset
from ..providers.described import expression_text, handshake_text, scheme_text, span_text
from .output import obey, print_json, print_table, say

__all__ = ["complete_provider", "providers"]

_DURATIONS = ("deadline", "horizon", "replay", "remember")
_COLUMNS = ("name", "provider", "what proves a delivery", "batch", "handshake", "retries for")


def complete_provider(incomplete: str) -> list[str]:
    """Return the names of providers that begin like this, for the shell."""
    return sorted(name for name in PRESETS if name.startswith(incomplete))


_Name = Annotated[
    str,
    typer.Argument(
        metavar="[NAME]", help="One provider in detail.", autocompletion=complete_provider
    ),
]


def providers(
    name: _Name = "",
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="For machines: a JSON object a line, of each provider or of NAME."
        ),
    ] = False,
) -> None:
    """List the providers: their ids, signatures, handshakes and retries.

    With --json durations are seconds, and 0 where nothing is known.
    """
    obey(_providers(name, as_json=as_json))


async def _providers(name: str, *, as_json: bool) -> int:
    rows = [find_preset(name)] if name else [PRESETS[each] for each in sorted(PRESETS)]
    if as_json:
        for preset in rows:
            print_json(_facts(preset))
    elif name:
        print_table(("fact", name), _details(rows[0]))
    else:
        print_table(_COLUMNS, map(_cells, rows))
        say("webhook-dedup providers NAME tells all about one; --json all about all")
    return 0


def _cells(preset: Preset) -> tuple[str, ...]:
    return (
        preset.name,
        preset.title,
        scheme_text(preset.scheme),
        "yes" if preset.items else "-",
        handshake_text(preset.handshake) or "-",
        span_text(preset.horizon) or "-",
    )


def _facts(preset: Preset) -> dict[str, Any]:
    """Return a row as plain values; durations are seconds, 0 where nothing is known."""
    return {
        "name": preset.name,
        "title": preset.title,
        "event_id": expression_text(preset.event_id),
        "event_type": expression_text(preset.event_type),
        "occurred_at": expression_text(preset.occurred_at),
        "subject": expression_text(preset.subject),
        "items": expression_text(preset.items),
        "signature": scheme_text(preset.scheme),
        "secret_format": preset.secret_format,
        "handshake": handshake_text(preset.handshake),
        "ack": preset.ack,
        "ack_status": preset.ack_status,
        "retry_status": preset.retry_status,
        "deadline": preset.deadline,
        "horizon": preset.horizon,
        "replay": preset.replay,
        "remember": preset.remember,
        "max_body": preset.max_body,
        "docs": preset.docs,
        "checked": preset.checked.isoformat(),
        "unverified": list(preset.unverified),
        "notes": list(preset.notes),
    }


def _details(preset: Preset) -> Iterator[tuple[str, str]]:
    """Yield a line for each fact that is known, and one for each of its parts."""
    for fact, value in _facts(preset).items():
        lines = value if isinstance(value, list) else [_shown(fact, value)]
        for number, line in enumerate(filter(None, lines)):
            yield ("" if number else fact.replace("_", " "), line)


def _shown(fact: str, value: Any) -> str:
    if fact in _DURATIONS:
        return span_text(value)
    return "" if value is None else str(value)
