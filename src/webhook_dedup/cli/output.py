"""What the operators' commands share: how they end, and how they say what they found.

What senders wrote never reaches the terminal as it is: see :func:`shown`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Annotated, Any, NoReturn

import typer
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..admin.moments import age_of
from ..admin.text import inert
from ..errors import ConfigError, TableAbsent, WebhookDedupError

__all__ = [
    "AsJson",
    "duration",
    "give_up",
    "obey",
    "print_json",
    "print_table",
    "remind_of_tenant",
    "say",
    "shown",
]

AsJson = Annotated[bool, typer.Option("--json", help="JSON for machines.")]

_REFUSED, _MISUSED = 1, 2
_PIPED_WIDTH = 200
_READABLE = 12  # characters a line; a column that is broken into less is not read any more
_BETWEEN_COLUMNS, _MARGINS = 3, 2


def duration(text: str) -> float:
    """Read an option such as ``10m`` as seconds."""
    try:
        return age_of(text)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc


def obey(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run a command and exit with its code; an error ends it with one sentence."""
    try:
        code = asyncio.run(work)
    except ConfigError as exc:
        _fail(str(exc), _MISUSED)
    except TableAbsent as exc:
        # The rest of the message is for those who write the app.
        _fail(f"{str(exc).partition(';')[0]}; is this the store the app uses?", _REFUSED)
    except WebhookDedupError as exc:
        _fail(str(exc), _REFUSED)
    raise typer.Exit(code)


def give_up(name: str, error: WebhookDedupError) -> NoReturn:
    """End the command of this name with one sentence."""
    _fail(f"{name}: {error}", _MISUSED if isinstance(error, ConfigError) else _REFUSED)


def _fail(message: str, code: int) -> NoReturn:
    say(message, err=True)
    raise typer.Exit(code)


def shown(text: str, limit: int | None = None) -> str:
    """Return text with whatever could steer a terminal escaped, cut to ``limit`` characters.

    That is control characters, also those that turn the direction of writing, lone surrogates and
    what the output cannot encode.
    """
    if limit is not None and len(text) > limit:
        text = f"{text[: limit - 1]}…"
    encoding = sys.stdout.encoding or "utf-8"
    return inert(text).encode(encoding, "backslashreplace").decode(encoding)


def say(text: str, *, err: bool = False) -> None:
    """Print one line."""
    typer.echo(shown(text), err=err)


def remind_of_tenant(tenant: str) -> None:
    """Say what may be missing where the store was asked about an event and knows nothing."""
    if not tenant:
        say("If the path of its source names a tenant, ask with --tenant: the key has both.")


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on a line of its own, in ASCII."""
    # json leaves DEL as it is
    typer.echo(json.dumps(value).replace("\x7f", "\\u007f"))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their columns; where these have no room, each row as a block of lines.

    Nothing of the first column is ever cut or broken: it is there to be copied.
    """
    kept = [[shown(cell) for cell in row] for row in rows]
    console = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    if _least_width(columns, kept) > console.width:
        _print_blocks(columns, kept)
        return
    table = Table(box=box.SIMPLE)
    for number, name in enumerate(columns):
        table.add_column(name, no_wrap=number == 0, overflow="fold")
    for row in kept:
        # Text, since a plain string would be read as markup.
        table.add_row(*map(Text, row))
    console.print(table)


def _least_width(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return how wide a table must be for people to read it."""
    widths = [max(map(cell_len, column)) for column in zip(columns, *rows, strict=True)]
    readable = [widths[0], *(min(width, _READABLE) for width in widths[1:])]
    return sum(readable) + _BETWEEN_COLUMNS * len(columns) + _MARGINS


def _print_blocks(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for row in rows:
        typer.echo()
        for name, cell in zip(columns, row, strict=True):
            typer.echo(f"{name}: {cell}")
    typer.echo()
