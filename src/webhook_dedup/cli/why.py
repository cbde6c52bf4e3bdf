"""``webhook-dedup why``: the whole story of one event in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ..admin.lookup import Storage, stories_of
from ..admin.story import Story, told_of
from ..contracts import Inspector, Sought
from .claims import RequestLine, facts_of, request_line
from .items import summary
from .output import AsJson, obey, print_json, remind_of_tenant, say
from .storage import InboxUrl, StoreUrl, Urls, opened_storage
from .tail import facts

__all__ = ["why"]


def why(
    event_id: Annotated[str, typer.Argument(help="The provider's event id.")],
    source: Annotated[str | None, typer.Option(help="Name of the source.")] = None,
    tenant: Annotated[str, typer.Option(help="What {tenant} in the path stood for.")] = "",
    request: RequestLine = "",
    store: StoreUrl = "",
    inbox: InboxUrl = "",
    as_json: AsJson = False,
) -> None:
    """Tell what became of an event: from the history, the inbox and the store."""
    obey(_why(Urls(store, inbox), event_id, source, tenant, request, as_json=as_json))


async def _why(
    urls: Urls,
    event_id: str,
    source: str | None,
    tenant: str,
    request: str,
    *,
    as_json: bool,
) -> int:
    request = request and request_line(request)
    async with opened_storage(urls) as storage:
        await _check_tables(storage, inbox_named=bool(urls.inbox))
        stories = await stories_of(storage, event_id, source, tenant, request)
    if as_json:
        print_json({"event_id": event_id, "sources": [_facts(story) for story in stories]})
    else:
        _print(event_id, stories)
        if not any(story.known for story in stories):
            _print_unknown(source, tenant, certain=bool(storage.history or source))
        if storage.history is None:
            _print_no_history()
    return 0 if any(story.known for story in stories) else 1


async def _check_tables(storage: Storage, *, inbox_named: bool) -> None:
    """Refuse tables that are not there, which would know of no event.

    Only an app without sources has no inbox, and for that none is named.

    Raises:
        SchemaError: A table is not there.
    """
    if isinstance(storage.store, Inspector):
        await storage.store.look([])
    if inbox_named:
        await storage.inbox.find(Sought(), limit=1)


def _facts(story: Story) -> dict[str, Any]:
    verdict, words = told_of(story)
    return {
        "source": story.source,
        "tenant": story.tenant,
        "verdict": verdict,
        "summary": words,
        "claim": None if story.claim is None else facts_of(story.claim),
        "inbox": [summary(item) for item in story.items],
        "history": [facts(entry) for entry in story.entries],
    }


def _print(event_id: str, stories: Sequence[Story]) -> None:
    for story in stories:
        _, words = told_of(story)
        of = f"{story.source} ({story.tenant})" if story.tenant else story.source
        say(f"{event_id} of {of}: {words}")
        for line in story.lines():
            say(f"  {line}")
    if not stories:
        say(f"{event_id}: nothing is known of it")


def _print_unknown(source: str | None, tenant: str, *, certain: bool) -> None:
    if certain:
        say("  It never arrived with a valid signature, or it is longer ago than anything is kept.")
    say(
        "  One of several events in a delivery is not named until it is settled: until then "
        "'webhook-dedup inbox list' has the delivery, as batch:…."
    )
    if source is None:
        say("  The store, which knows what is done, can only be asked with --source NAME.")
    else:
        remind_of_tenant(tenant)


def _print_no_history() -> None:
    say(
        "No history is kept beside this store, so only its claim and the inbox can tell; give "
        "the app observers=[History(…)] of webhook_dedup.observe.history."
    )
