"""``webhook-dedup stores``: what a person may see and do about the claims of a store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ..admin.actions import FORGET, RESET, Action, Subject
from ..admin.moments import instant
from ..contracts import Forgetful, Inspector, Store
from ..errors import ConfigError, MissingPower, StoreError
from ..guards import Budget
from ..model import Claim
from .audit import note, write
from .claims import RequestLine, facts_of, named_keys, unknown
from .output import AsJson, obey, print_json, remind_of_tenant, say
from .storage import StoreUrl, opened_history, opened_store

__all__ = ["stores"]

stores = typer.Typer(no_args_is_help=True, help="Look into a store, and act on what it remembers.")

_EventId = Annotated[str, typer.Argument(help="The event id, as log lines have it.")]
_Source = Annotated[str, typer.Option(help="Name of the source, as log lines have it.")]
_Tenant = Annotated[str, typer.Option(help="The tenant, if log lines have one.")]


@stores.command()
def show(
    event_id: _EventId,
    source: _Source,
    tenant: _Tenant = "",
    request: RequestLine = "",
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Show how one event stands: held by whom, done since when, or unknown.

    It is looked for as a source's event and as a key of once, a decorated function or a guard.
    """
    subject = Subject(event_id=event_id, source=source, tenant=tenant)
    obey(_show(store, subject, request, as_json=as_json))


async def _show(url: str, subject: Subject, request: str, *, as_json: bool) -> int:
    keys = named_keys(subject, request)
    async with opened_store(url) as store:
        if not isinstance(store, Inspector):
            raise MissingPower(f"{store.name} cannot be looked into")
        claims = await store.look(keys)
    claim = next(filter(None, claims), None)
    if as_json:
        key, facts = (keys[0], None) if claim is None else (claim.key, _facts(claim))
        print_json({"key": key, "claim": facts})
    elif claim is None:
        say(f"unknown: the store {unknown(request)}")
        remind_of_tenant(subject.tenant)
    else:
        say(_sentence(claim))
    return 0 if claim is not None else 1


def _facts(claim: Claim) -> dict[str, Any]:
    return {
        **facts_of(claim),
        "result_bytes": None if claim.result is None else len(claim.result),
    }


def _sentence(claim: Claim) -> str:
    seen = "" if claim.first_seen is None else f", first seen {instant(claim.first_seen)}"
    ends = instant(time.time() + claim.remaining)
    if claim.done:
        return f"done by {claim.holder}{seen}; copies are skipped until {ends}"
    return f"held by {claim.holder}{seen}; its lease ends {ends} unless it is renewed"


@stores.command()
def forget(
    event_id: _EventId,
    source: _Source,
    tenant: _Tenant = "",
    request: RequestLine = "",
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Forget one event, so that its next delivery runs.

    Where a source and a function have one name, it is the source's. A process that saw the event
    done may answer from its own memory for up to a minute.
    """
    subject = Subject(event_id=event_id, source=source, tenant=tenant)
    obey(_forget(store, subject, request, as_json=as_json))


@stores.command("reset-budget")
def reset_budget(
    subject: Annotated[str, typer.Argument(help="What is over its budget: a thread, an account.")],
    sends: Annotated[int, typer.Option(help="How many sends the budget allows.")],
    source: Annotated[str, typer.Option(help="Name of the source or function.")] = "",
    name: Annotated[str | None, typer.Option(help="Name of the budget, if it has one.")] = None,
    tenant: _Tenant = "",
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Give a subject its whole budget back; replay its dead letters afterwards."""
    obey(_reset_budget(store, subject, sends, source, name, tenant, as_json=as_json))


async def _reset_budget(
    url: str, subject: str, sends: int, source: str, name: str | None, tenant: str, *, as_json: bool
) -> int:
    if not source and name is None:
        raise ConfigError("whose budget? pass --source, or --name if the budget has a name")
    budget = Budget(sends, 1, name=name)
    async with opened_store(url) as store:
        reset = await budget.reset(store, subject, source=source, tenant=tenant)
        if reset:
            whose = Subject(source=source or name or "", tenant=tenant)
            await _keep(store, RESET, whose, f"of {subject}")
    if as_json:
        print_json({"subject": subject, "reset": reset})
    else:
        say("reset: it has its whole budget again" if reset else "nothing of it was spent")
    return 0 if reset else 1


async def _forget(url: str, subject: Subject, request: str, *, as_json: bool) -> int:
    keys = named_keys(subject, request)
    async with opened_store(url) as store:
        if not isinstance(store, Forgetful):
            raise MissingPower(f"{store.name} cannot forget single events")
        forgotten = await _first_forgotten(store, keys)
        if forgotten is not None:
            await _keep(store, FORGET, subject)
    if as_json:
        print_json({"key": forgotten or keys[0], "forgotten": forgotten is not None})
    elif forgotten is not None:
        say(
            "forgotten: it runs when it comes again; a process that saw it done may answer from "
            "its own memory for up to a minute"
        )
    else:
        say(f"nothing forgotten: the store {unknown(request)}")
        remind_of_tenant(subject.tenant)
    return 0 if forgotten is not None else 1


async def _first_forgotten(store: Forgetful, keys: Sequence[str]) -> str | None:
    for key in keys:
        if await store.forget(key):
            return key
    return None


async def _keep(store: Store, action: Action, subject: Subject, about: str = "") -> None:
    """Record what was done, if a history is kept beside the store."""
    try:
        async with opened_history(store) as history:
            note(history, action, subject, about)
            await write(history)
    except StoreError as exc:  # it is done nevertheless
        say(f"done, but the history did not take the record of it: {exc}", err=True)
