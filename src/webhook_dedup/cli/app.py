"""The command line's root."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from .bench import bench
from .dashboard import dashboard
from .demo import demo
from .doctor import doctor
from .inbox import inbox
from .providers import providers
from .send import send
from .stores import stores
from .tail import tail
from .why import why
from .work import work

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Webhook handlers that run once.",
)
app.command()(bench)
app.command()(dashboard)
app.command()(demo)
app.command()(doctor)
app.command()(providers)
app.command()(send)
app.command()(tail)
app.command()(why)
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
