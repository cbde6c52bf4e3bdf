"""Signs of life from work that takes a while. On a terminal only: a pipe gets nothing of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["bar", "busy"]


@contextmanager
def bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how much of a total is done. Yield what to call with the size of each step done."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task(what, total=total)
        yield lambda number: progress.advance(task, number)


def busy(what: str) -> AbstractContextManager[Any]:
    """Show that something goes on, nobody knows for how long."""
    console = Console(stderr=True)
    return console.status(what) if console.is_terminal else nullcontext()
