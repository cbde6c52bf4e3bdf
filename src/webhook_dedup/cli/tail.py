"""``webhook-dedup tail``: what happens, as it happens, in whatever process."""

from __future__ import annotations

import contextlib
import enum
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from ..admin.moments import instant
from ..errors import StoreError
from ..observe.history import Entry, History
from ..observe.log import fields
from ..observe.record import Kind, Reason
from .output import AsJson, obey, print_json, say, shown
from .storage import StoreUrl, opened_history, opened_store

__all__ = ["facts", "tail"]

_LONGEST_CELL = 120
_COLOURS = {
    Kind.REJECTED: "red",
    Kind.FAILED: "red",
    Kind.BURIED: "bold red",
    Kind.LEASE_LOST: "red",
    Kind.STORE_ERROR: "red",
    Kind.ESCALATED: "bold yellow",
    Kind.SKIPPED: "yellow",
    Kind.DEFERRED: "yellow",
    Kind.RETRIED: "magenta",
    Kind.SUCCEEDED: "green",
    Kind.RECOVERED: "green",
    Kind.RECEIVED: "cyan",
}
_TOLD = (
    "event_type",
    "tenant",
    "reason",
    "original",
    "status",
    "attempt",
    "duration",
    "age",
    "delay",
    "detail",
)
_NONE_KEPT = "no history is kept beside this store"
_REMEDY = "give the app observers=[History(…)] of webhook_dedup.observe.history"
_SECONDS = ("duration", "age", "delay")

KindName = enum.Enum("KindName", {kind.value: kind.value for kind in Kind})  # type: ignore[misc]  # made of the kinds there are


@dataclass(frozen=True, slots=True)
class _Filter:
    source: str | None
    kind: str | None
    reason: str | None

    def admits(self, entry: Entry) -> bool:
        record = entry.record
        return (
            self.source in {None, record.source}
            and self.kind in {None, record.kind.value}
            and self.reason in {None, record.reason}
        )


def tail(
    *,
    source: Annotated[str | None, typer.Option(help="Name of the source.")] = None,
    kind: Annotated[KindName | None, typer.Option(help="What happened.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why an event was not run.")] = None,
    last: Annotated[int, typer.Option(min=0, help="How many earlier entries to begin with.")] = 10,
    follow: Annotated[bool, typer.Option(help="Go on with what happens from now.")] = True,
    every: Annotated[float, typer.Option(min=0.05, max=60, help="Seconds between looks.")] = 0.5,
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Show what is recorded, live; with --json one object a line. The app must keep a history."""
    chosen = _Filter(source, None if kind is None else str(kind.value), reason)
    with contextlib.suppress(KeyboardInterrupt):
        obey(_tail(store, chosen, last, every if follow else None, as_json=as_json))


async def _tail(url: str, chosen: _Filter, last: int, every: float | None, *, as_json: bool) -> int:
    console = Console(soft_wrap=True, highlight=False)
    show = _print_json if as_json else lambda entry: console.print(_line(entry))
    async with opened_store(url) as opened, opened_history(opened, empty_too=True) as history:
        if history is None:
            raise StoreError(f"{_NONE_KEPT}; {_REMEDY}")
        # Read before the earlier ones are: what happens between comes twice and is shown once.
        newest = await history.find(limit=1)
        if not newest:
            say(f"{_NONE_KEPT}, or nothing is recorded yet; {_REMEDY}", err=True)
        earlier = await _earlier(history, chosen, last)
        if newest and last and not earlier:
            say(_nothing_fits(chosen), err=True)
        for entry in reversed(earlier):
            show(entry)
        sys.stdout.flush()
        told = {entry.id for entry in earlier}
        if every is None:
            return 0 if earlier else 1
        async for entry in history.tail(newest[0].id if newest else "", every=every):
            if chosen.admits(entry) and entry.id not in told:
                show(entry)
                sys.stdout.flush()
    return 0


async def _earlier(history: History, chosen: _Filter, last: int) -> list[Entry]:
    if not last:
        return []
    return [
        *await history.find(
            source=chosen.source, kind=chosen.kind, reason=chosen.reason, limit=last
        )
    ]


def _nothing_fits(chosen: _Filter) -> str:
    """Say that nothing was shown; name the usual reasons to who may have misspelt one.

    Guards and rejections have reasons of their own, so that one that is not known is not refused.
    """
    usual = [reason.value for reason in Reason]
    if chosen.reason is None or chosen.reason in usual:
        return "nothing fits among what is recorded so far"
    return (
        f"nothing fits among what is recorded so far; {chosen.reason!a} is none of the usual "
        f"reasons, which are {', '.join(usual)}"
    )


def facts(entry: Entry) -> dict[str, Any]:
    """Return what machines are told of an entry."""
    told: dict[str, Any] = {"id": entry.id, "at": entry.record.at, **fields(entry.record)}
    told["by"] = entry.by
    if entry.record.warning:
        told["warning"] = True
    if entry.traceback is not None:
        told["traceback"] = entry.traceback
    if entry.request is not None:
        told["request"] = f"{entry.request.method} {entry.request.path}"
        told["body_size"] = entry.request.size
    return told


def _print_json(entry: Entry) -> None:
    print_json(facts(entry))


def _line(entry: Entry) -> Text:
    record = entry.record
    line = Text(f"{instant(record.at)} ")
    line.append(f"{record.kind.value:<11}", _COLOURS.get(record.kind, ""))
    line.append(f" {shown(record.source, _LONGEST_CELL)} ", "bold")
    line.append(shown(record.event_id or "-", _LONGEST_CELL))
    for name in _TOLD:
        value = getattr(record, name)
        if value is not None:
            line.append(f"  {name}=", "dim")
            line.append(f"{value:.3f}s" if name in _SECONDS else shown(str(value), _LONGEST_CELL))
    return line
