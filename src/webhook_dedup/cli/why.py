"""``webhook-dedup why``: the whole story of one event in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, cast

import typer

from ..contracts import Inspector, OperableInbox, Sought, Store
from ..errors import SchemaError
from ..inbox import inbox_beside
from ..model import Item, Key
from ..observe.history import Entry, History
from .items import summary
from .output import AsJson, StoreUrl, obey, opened_store, print_json, say
from .story import Story, told_of
from .tail import facts

__all__ = ["why"]

_MOST_ITEMS = 100


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
    async with opened_store(url) as store:
        entries, keeps_history = await _entries(store, event_id, source)
        items = await _items(store, Sought(source=source, event_id=event_id))
        named = {} if source is None else {(source, tenant): Story(event_id, source, tenant)}
        stories = _sorted(event_id, entries, items, named)
        stories = [await _with_claim(store, story) for story in stories]
    if as_json:
        print_json({"event_id": event_id, "sources": [_facts(story) for story in stories]})
    else:
        _print(event_id, stories, keeps_history=keeps_history, named=source is not None)
    return 0 if any(story.known for story in stories) else 1


async def _entries(store: Store, event_id: str, source: str | None) -> tuple[Sequence[Entry], bool]:
    """Return the history of an event, and whether there is a history at all."""
    history = History(store)
    try:
        await history.start()
        return await history.story(event_id, source), True
    except SchemaError:
        return [], False
    finally:
        await history.aclose()


async def _items(store: Store, sought: Sought) -> Sequence[Item]:
    inbox = cast(OperableInbox, inbox_beside(store))
    try:
        return await inbox.find(sought, limit=_MOST_ITEMS)
    except SchemaError:  # an app without sources has none
        return []
    finally:
        await inbox.aclose()


def _sorted(
    event_id: str,
    entries: Sequence[Entry],
    items: Sequence[Item],
    stories: dict[tuple[str, str], Story],
) -> list[Story]:
    """Sort what was found by source and tenant."""

    def story(source: str, tenant: str) -> Story:
        return stories.setdefault((source, tenant), Story(event_id, source, tenant))

    for entry in entries:
        story(entry.record.source, entry.record.tenant or "").entries.append(entry)
    for item in items:
        source = item.delivery.source
        story(source, _tenant_in(item.key, source)).items.append(item)
    return [stories[place] for place in sorted(stories)]


def _tenant_in(key: str, source: str) -> str:
    """Read the tenant out of a key as text."""
    rest = key.removeprefix(str(Key(f"webhook:{source}", "")).removesuffix("0::"))
    length, _, rest = rest.partition(":")
    return rest[: int(length)] if length.isdigit() else ""


async def _with_claim(store: Store, story: Story) -> Story:
    """Add how the event stands in the store: for the middleware, else for a function."""
    if not isinstance(store, Inspector):
        return story
    for scope in (f"webhook:{story.source}", story.source):
        (claim,) = await store.look([str(Key(scope, story.event_id, story.tenant))])
        if claim is not None:
            return replace(story, claim=claim)
    return story


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
