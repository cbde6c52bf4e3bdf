"""The command line's root."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from .demo import demo
from .inbox import inbox
from .stores import stores
from .work import work

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Webhook handlers that run once.",
)
app.command()(demo)
app.command()(work)
app.add_typer(inbox, name="inbox")
app.add_typer(stores, name="stores")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"webhook_dedup {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Webhook handlers that run once."""
