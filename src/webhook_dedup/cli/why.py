"""``webhook-dedup why``: the whole story of one event in plain words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, cast

import typer

from ..contracts import OperableInbox, Store
from ..desk.stories import Rooms, stories_of
from ..desk.story import Story, told_of
from ..errors import SchemaError
from ..inbox import inbox_beside
from ..observe.history import History
from .items import summary
from .output import AsJson, StoreUrl, obey, opened_store, print_json, say
from .tail import facts

__all__ = ["why"]


def why(
    event_id: Annotated[str, typer.Argument(help="The provider's event id.")],
    source: Annotated[str | None, typer.Option(help="Name of the source.")] = None,
    tenant: Annotated[str, typer.Option(help="What {tenant} in the path stood for.")] = "",
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Tell what became of an event: from the history, the inbox and the store."""
    obey(_why(store, event_id, source, tenant, as_json=as_json))


async def _why(url: str, event_id: str, source: str | None, tenant: str, *, as_json: bool) -> int:
    async with opened_store(url) as store, _history(store) as history:
        inbox = cast(OperableInbox, inbox_beside(store))
        try:
            rooms = Rooms(store, inbox, history)
            stories = await stories_of(rooms, event_id, source, tenant)
        finally:
            await inbox.aclose()
    if as_json:
        print_json({"event_id": event_id, "sources": [_facts(story) for story in stories]})
    else:
        keeps = history is not None
        _print(event_id, stories, keeps_history=keeps, named=source is not None)
    return 0 if any(story.known for story in stories) else 1


@asynccontextmanager
async def _history(store: Store) -> AsyncIterator[History | None]:
    """Open the history beside a store, if there is one."""
    history = History(store, trims=False)
    try:
        await history.start()
    except SchemaError:
        yield None
    else:
        yield history
    finally:
        await history.aclose()


def _facts(story: Story) -> dict[str, Any]:
    verdict, words = told_of(story)
    claim = story.claim
    return {
        "source": story.source,
        "tenant": story.tenant,
        "verdict": verdict,
        "summary": words,
        "claim": None
        if claim is None
        else {
            "state": "done" if claim.done else "held",
            "holder": claim.holder,
            "remaining": claim.remaining,
            "first_seen": claim.first_seen,
        },
        "inbox": [summary(item) for item in story.items],
        "history": [facts(entry) for entry in story.entries],
    }


def _print(event_id: str, stories: Sequence[Story], *, keeps_history: bool, named: bool) -> None:
    for story in stories:
        _, words = told_of(story)
        of = f"{story.source} ({story.tenant})" if story.tenant else story.source
        say(f"{event_id} of {of}: {words}")
        for line in story.lines():
            say(f"  {line}")
    if not stories:
        say(f"{event_id}: nothing is known of it")
    if not any(story.known for story in stories):
        say("  It never arrived with a valid signature, or it is longer ago than anything is kept.")
        if not named:
            say("  The store can only be asked with --source NAME.")
    if not keeps_history:
        say(
            "No history is kept beside this store, so only its claim and the inbox can tell; give "
            "the app observers=[History(…)] of webhook_dedup.observe.history."
        )
