"""The command ``webhook-dedup``, one file per command."""

from __future__ import annotations

import sys

from ..errors import MissingExtra

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    try:
        from .app import app  # noqa: PLC0415 - typer belongs to an extra
    except ModuleNotFoundError as exc:
        raise SystemExit(f"{MissingExtra('the commands', 'cli')} ({exc.name} is missing)") from exc
    sys.exit(app())
