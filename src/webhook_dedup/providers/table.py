"""The table of providers in the README: ``python -m webhook_dedup.providers.table README.md``."""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import ConfigError
from .catalog import PRESETS
from .described import expression_text, scheme_text, span_text
from .extract import FirstOf
from .preset import Preset

__all__ = ["markdown", "rewritten"]

_BEGIN = "<!-- providers: begin (make providers) -->"
_END = "<!-- providers: end -->"
_COLUMNS = ("`Source(…)`", "sender", "an event is known by", "a delivery is proven by", "retries")


def markdown() -> str:
    """Return the table of all providers, in the order of their names."""
    rows = [
        _COLUMNS,
        ("---",) * len(_COLUMNS),
        *(_cells(PRESETS[name]) for name in sorted(PRESETS)),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def rewritten(text: str) -> str:
    """Return a text with the table between its markers.

    Raises:
        ConfigError: The markers are not there.
    """
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ConfigError(f"there is no {_BEGIN} … {_END}")
    return f"{before}{_BEGIN}\n{markdown()}\n{_END}{after}"


def _cells(preset: Preset) -> tuple[str, ...]:
    title = f"[{preset.title}]({preset.docs})" if preset.docs else preset.title
    return (
        f"`{preset.name}`",
        title,
        _key(preset),
        scheme_text(preset.scheme),
        span_text(preset.horizon) or "-",
    )


def _key(preset: Preset) -> str:
    """Return the first of a row's expressions; `providers NAME` shows the others."""
    expression = preset.event_id
    if expression is None:
        return "your `event_id=`"
    more = isinstance(expression, FirstOf)
    first = expression.choices[0] if isinstance(expression, FirstOf) else expression
    parts = first if isinstance(first, tuple) else (first,)
    text = " + ".join(f"`{expression_text(part).removesuffix('?')}`" for part in parts)
    where = "each item's " if preset.items else ""
    return f"{where}{text}{' …' if more else ''}"


if __name__ == "__main__":
    readme = Path(sys.argv[1] if len(sys.argv) > 1 else "README.md")
    readme.write_text(rewritten(readme.read_text("utf-8")), "utf-8")
