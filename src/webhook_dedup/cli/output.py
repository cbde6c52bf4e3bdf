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
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..desk.moments import age_of
from ..desk.text import inert
from ..errors import ConfigError, SchemaError, WebhookDedupError

__all__ = [
    "AsJson",
    "duration",
    "obey",
    "print_json",
    "print_table",
    "say",
    "shown",
]

AsJson = Annotated[bool, typer.Option("--json", help="JSON for machines.")]

_REFUSED, _MISUSED = 1, 2
_PIPED_WIDTH = 200


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
    except SchemaError as exc:
        # The rest of the message is for those who write the app.
        _fail(f"{str(exc).partition(';')[0]}; is this the store the app uses?", _REFUSED)
    except WebhookDedupError as exc:
        _fail(str(exc), _REFUSED)
    raise typer.Exit(code)


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


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on a line of its own, in ASCII."""
    # json leaves DEL as it is
    typer.echo(json.dumps(value).replace("\x7f", "\\u007f"))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their columns; the first column is never cut."""
    table = Table(box=box.SIMPLE)
    for number, name in enumerate(columns):
        table.add_column(name, no_wrap=number == 0, overflow="fold")
    for row in rows:
        # Text, since a plain string would be read as markup.
        table.add_row(*(Text(shown(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH).print(table)
