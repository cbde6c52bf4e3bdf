"""How values become HTML. Whatever a sender wrote is shown, inert and whole."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from itertools import groupby

from markupsafe import Markup, escape

from ..admin.moments import instant
from ..admin.text import escape_of, inert
from ..providers.described import span_text

__all__ = ["ago", "body_text", "finalized", "hexdump", "marked", "size", "span", "within"]

_LONGEST_HEX = 4_096
_LONGEST_TEXT = 32_768
_PER_LINE = 16
_AGES = ((86_400, "d"), (3_600, "h"), (60, "min"))
_LAYOUT = "\n\t"
_ESCAPED, _END = Markup('<span class="escape">'), Markup("</span>")


def finalized(value: object) -> object:
    """Make text inert; every ``{{ … }}`` of every page goes through here."""
    if value is None:
        return ""
    return inert(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def marked(text: str, limit: int | None = None, *, layout: bool = False) -> Markup:
    """Return text whose escapes stand out from what was written like them.

    Args:
        text: What a sender wrote.
        limit: How many characters of it.
        layout: Keep line feeds and tabs as they are.
    """
    kept = _LAYOUT if layout else ""
    shown = text if limit is None or len(text) <= limit else f"{text[: limit - 1]}…"
    if shown.isprintable():
        return escape(shown)
    return Markup().join(
        _ESCAPED + "".join(map(escape_of, run)) + _END if odd else escape("".join(run))
        for odd, run in groupby(shown, lambda each: not (each.isprintable() or each in kept))
    )


def ago(moment: float | None) -> Markup:
    """Return a Unix time as the time since, the exact one on demand."""
    if moment is None:
        return Markup("-")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        _iso(moment), instant(moment), _since(time.time() - moment)
    )


def _since(seconds: float) -> str:
    if seconds < 0:
        return f"in {_rough(-seconds)}"
    return "now" if seconds < 1 else f"{_rough(seconds)} ago"


def _rough(seconds: float) -> str:
    for length, unit in _AGES:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _iso(moment: float) -> str:
    try:
        return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return ""


def span(seconds: float | None) -> str:
    """Return a duration as people read it."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 60 else span_text(seconds)  # noqa: PLR2004 - a minute


def within(seconds: float) -> str:
    """Return a duration in its largest units."""
    return span_text(seconds) or "0 s"


def size(number: int) -> str:
    """Return a number of bytes as people read it."""
    if number < 1024:  # noqa: PLR2004 - a kibibyte
        return f"{number} B"
    return f"{number / 1024:.1f} KiB" if number < 1 << 20 else f"{number / (1 << 20):.1f} MiB"


def body_text(body: bytes) -> Markup:
    """Return the begin of a body as text; bytes that are none are escaped."""
    text = body[:_LONGEST_TEXT].decode("utf-8", "backslashreplace")
    more = Markup("\n… {} more bytes").format(len(body) - _LONGEST_TEXT)
    return marked(text, layout=True) + (more if len(body) > _LONGEST_TEXT else Markup())


def hexdump(body: bytes) -> Markup:
    """Return the begin of a body as offsets, bytes and what of them is ASCII."""
    lines = []
    for start in range(0, min(len(body), _LONGEST_HEX), _PER_LINE):
        part = body[start : start + _PER_LINE]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)  # noqa: PLR2004 - ASCII
        lines.append(f"{start:06x}  {part.hex(' '):<{_PER_LINE * 3 - 1}}  {text}")
    if len(body) > _LONGEST_HEX:
        lines.append(f"… {len(body) - _LONGEST_HEX} more bytes")
    return escape("\n".join(lines))
