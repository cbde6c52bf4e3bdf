"""``webhook-dedup doctor``: what could go wrong with a store and the app in front of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from ..contracts import Store
from ..errors import ConfigError
from ..policy import DAY
from ..providers import find_preset
from ..routes import TTL_MARGIN, ttl_for
from ..stores import open_store
from .checkup import Finding, Level, counted, examined, examined_inbox
from .output import AsJson, duration, obey, print_json, shown
from .progress import busy
from .providers import complete_provider
from .storage import InboxUrl, StoreUrl, Urls, is_within_process

__all__ = ["doctor"]

_MAX_AGE = 600.0
_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILURE: "bold red"}


def doctor(
    *,
    provider: Annotated[
        list[str] | None,
        typer.Option(
            "--provider", help="Whose retries must be covered.", autocompletion=complete_provider
        ),
    ] = None,
    ttl: Annotated[
        float | None,
        typer.Option(parser=duration, metavar="AGE", help="The app's ttl, such as 48h or 7d."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, envvar="WEB_CONCURRENCY", help="Processes that serve the app.")
    ] = 1,
    max_age: Annotated[
        float | None,
        typer.Option(parser=duration, metavar="AGE", help="How long a delivery may wait, or 10m."),
    ] = None,
    strict: Annotated[bool, typer.Option(help="Let warnings fail, too.")] = False,
    store: StoreUrl = "",
    inbox: InboxUrl = "",
    as_json: AsJson = False,
) -> None:
    """Look for what could go wrong. Exit code 0: nothing; 1: something; 2: wrong usage."""
    order = _Order(provider or [], ttl, workers, _MAX_AGE if max_age is None else max_age)
    obey(_doctor(Urls(store, inbox), order, strict=strict, as_json=as_json))


@dataclass(frozen=True, slots=True)
class _Order:
    """What to look for.

    Attributes:
        providers: Whose retries must be covered.
        ttl: Seconds for which the app remembers events; ``None`` if it leaves that to the presets.
        workers: Processes that serve the app.
        max_age: Seconds that a delivery may wait.
    """

    providers: Sequence[str]
    ttl: float | None
    workers: int
    max_age: float


async def _doctor(urls: Urls, order: _Order, *, strict: bool, as_json: bool) -> int:
    if not urls.store:
        raise ConfigError("which store? pass --store URL or set WEBHOOK_DEDUP_STORE")
    findings = [each for name in order.providers for each in _memory_of(name, order.ttl)]
    if is_within_process(urls.store):
        scheme = (await _checked_store(urls.store)).name
        findings += _within_a_process(scheme, order.workers, inbox_too=not urls.inbox)
    else:
        with busy("examining the store"):
            findings += await examined(urls.store, None if urls.inbox else order.max_age)
    if urls.inbox:
        with busy("examining the inbox"):
            findings += await examined_inbox(urls.inbox, order.max_age)
    findings.sort(key=lambda finding: -finding.level)
    worst = findings[0].level
    if as_json:
        told = [{**asdict(each), "level": each.level.name.lower()} for each in findings]
        print_json({"worst": worst.name.lower(), "findings": told})
    else:
        _print(findings)
    return int(worst is Level.FAILURE or (strict and worst is Level.WARNING))


async def _checked_store(url: str) -> Store:
    """Build a store that lives in its process, as an app would, and let it go again."""
    store = open_store(url)
    await store.aclose()
    return store


def _memory_of(name: str, ttl: float | None) -> Iterator[Finding]:
    """Compare how long events are remembered with how long a provider sends them again."""
    preset = find_preset(name)
    check = f"ttl for {name}"
    kept = ttl_for(preset, ttl)
    if kept < preset.horizon:
        yield Finding(
            Level.FAILURE,
            check,
            f"events are remembered for {_days(kept)}, but {preset.title} retries for "
            f"{_days(preset.horizon)}: a late retry runs twice",
            f"raise ttl to {_days(preset.horizon * TTL_MARGIN)} or leave it out",
        )
    else:
        covered = f"{_days(kept)} cover the {_days(preset.horizon)} of retries"
        by_hand = f"; by hand {preset.title} sends an event again for {_days(preset.replay)}"
        told = covered if preset.horizon else f"{_days(kept)}; it tells of no retries"
        yield Finding(Level.OK, check, told + (by_hand if kept < preset.replay else ""))


def _within_a_process(scheme: str, workers: int, *, inbox_too: bool) -> Iterator[Finding]:
    if workers > 1:
        yield Finding(
            Level.FAILURE,
            "workers",
            f"{workers} processes serve the app and {scheme}:// is private to each: copies that "
            "reach different processes all run",
            "use redis://, postgresql:// or sqlite://, or one process",
        )
    else:
        yield Finding(Level.OK, "workers", "one process serves the app")
    lost = "accepted events that are not handled yet are lost, and " if inbox_too else ""
    yield Finding(
        Level.WARNING,
        "durability",
        f"{scheme}:// ends with its process: {lost}handled ones are forgotten",
        "use a durable store, or ack='handled'" if inbox_too else "use a durable store",
    )


def _days(seconds: float) -> str:
    return f"{seconds / DAY:.3g} d" if seconds >= DAY else f"{seconds / 3600:.3g} h"


def _print(findings: Sequence[Finding]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    console.print(Text(_headline(findings), _COLOURS[findings[0].level]))
    for finding in findings:
        line = Text(f"{finding.level.name.lower():<8}", _COLOURS[finding.level])
        line.append(f" {finding.check}: ", "bold")
        line.append(shown(finding.text))
        console.print(line)
        if finding.remedy:
            console.print(Text(f"{'':9}{shown(finding.remedy)}", "dim"))


def _headline(findings: Sequence[Finding]) -> str:
    levels = Counter(finding.level for finding in findings)
    told = [
        counted(levels[level], level.name.lower())
        for level in (Level.FAILURE, Level.WARNING)
        if levels[level]
    ]
    return " and ".join(told) or "nothing needs attention"
