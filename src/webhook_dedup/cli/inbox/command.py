"""``webhook-dedup inbox``: look into the inbox of an app, and act on what waits or died there."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from ...admin.actions import BURY, PURGE, REPLAY
from ...contracts import Sought
from ..output import AsJson, duration, obey
from ..storage import InboxUrl, StoreUrl, Urls
from .acting import Order, carry_out
from .looking import list_items, show_item, show_stats

__all__ = ["inbox"]

inbox = typer.Typer(no_args_is_help=True, help="Look into the inbox, and act on what is there.")


class State(enum.Enum):
    """States of an item."""

    waiting = "waiting"
    dead = "dead"


_Source = Annotated[str | None, typer.Option("--source", help="Name of the source.")]
_State = Annotated[State | None, typer.Option("--state", help="Waiting or dead.")]
_Older = Annotated[
    float | None,
    typer.Option("--older-than", parser=duration, metavar="AGE", help="Such as 90, 10m, 2h, 3d."),
]
_Younger = Annotated[
    float | None,
    typer.Option("--younger-than", parser=duration, metavar="AGE", help="As --older-than."),
]
_Error = Annotated[str | None, typer.Option("--error", help="Text in the last error.")]
_EventId = Annotated[str | None, typer.Option("--event-id", help="The provider's event id.")]
_Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of items.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Act on what a filter finds without asking.")]


@inbox.command("list")
def list_(
    *,
    source: _Source = None,
    state: _State = None,
    older_than: _Older = None,
    younger_than: _Younger = None,
    error: _Error = None,
    event_id: _EventId = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    store: StoreUrl = "",
    beside: InboxUrl = "",
    as_json: AsJson = False,
) -> None:
    """List items, the oldest received first; with --json one object a line."""
    sought = _sought(source, state, older_than, younger_than, error, event_id)
    obey(list_items(Urls(store, beside), sought, limit, as_json=as_json))


@inbox.command()
def show(
    item_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the item.")],
    store: StoreUrl = "",
    beside: InboxUrl = "",
    as_json: AsJson = False,
) -> None:
    """Show one item: request, body and failed attempts. Secrets in headers are masked."""
    obey(show_item(Urls(store, beside), item_id, as_json=as_json))


@inbox.command()
def stats(
    *,
    source: _Source = None,
    older_than: _Older = None,
    younger_than: _Younger = None,
    error: _Error = None,
    event_id: _EventId = None,
    store: StoreUrl = "",
    beside: InboxUrl = "",
    as_json: AsJson = False,
) -> None:
    """Count what waits and what is dead."""
    sought = _sought(source, None, older_than, younger_than, error, event_id)
    obey(show_stats(Urls(store, beside), sought, as_json=as_json))


@inbox.command()
def replay(
    ids: _Ids = None,
    *,
    source: _Source = None,
    state: _State = None,
    older_than: _Older = None,
    younger_than: _Younger = None,
    error: _Error = None,
    event_id: _EventId = None,
    yes: _Yes = False,
    store: StoreUrl = "",
    beside: InboxUrl = "",
    as_json: AsJson = False,
) -> None:
    """Run items again, attempts counted from zero. A filter means dead letters unless it says."""
    sought = _sought(source, state, older_than, younger_than, error, event_id)
    order = Order(REPLAY, ids or [], sought, "dead", yes=yes, as_json=as_json)
    obey(carry_out(Urls(store, beside), order, lambda inbox, part: inbox.requeue(part)))


@inbox.command()
def bury(
    ids: _Ids = None,
    *,
    source: _Source = None,
    older_than: _Older = None,
    younger_than: _Younger = None,
    error: _Error = None,
    event_id: _EventId = None,
    reason: Annotated[str, typer.Option(help="For the history.")] = "buried by an operator",
    yes: _Yes = False,
    store: StoreUrl = "",
    beside: InboxUrl = "",
    as_json: AsJson = False,
) -> None:
    """Make waiting items dead letters: they run only when they are replayed."""
    sought = _sought(source, None, older_than, younger_than, error, event_id)
    order = Order(BURY, ids or [], sought, "waiting", yes=yes, as_json=as_json)
    obey(carry_out(Urls(store, beside), order, lambda inbox, part: inbox.shelve(part, reason)))


@inbox.command()
def purge(
    ids: _Ids = None,
    *,
    source: _Source = None,
    state: _State = None,
    older_than: _Older = None,
    younger_than: _Younger = None,
    error: _Error = None,
    event_id: _EventId = None,
    yes: _Yes = False,
    store: StoreUrl = "",
    beside: InboxUrl = "",
    as_json: AsJson = False,
) -> None:
    """Delete items for good. A filter means dead letters unless it says."""
    sought = _sought(source, state, older_than, younger_than, error, event_id)
    order = Order(PURGE, ids or [], sought, "dead", yes=yes, as_json=as_json)
    obey(carry_out(Urls(store, beside), order, lambda inbox, part: inbox.purge(part)))


def _sought(
    source: str | None,
    state: State | None,
    older_than: float | None,
    younger_than: float | None,
    error: str | None,
    event_id: str | None,
) -> Sought:
    return Sought(source, state.value if state else None, older_than, younger_than, error, event_id)
