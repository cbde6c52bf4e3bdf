"""Finds what is known of an event, wherever it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..contracts import Inspector, OperableInbox, Sought, Store
from ..errors import SchemaError
from ..model import Item, Key
from ..observe.history import Entries, Entry, History
from .story import Story

__all__ = ["Rooms", "stories_of", "tenant_in"]

_MOST_ITEMS = 100


@dataclass(frozen=True, slots=True)
class Rooms:
    """Where an app keeps what it knows.

    Attributes:
        store: Its claims.
        inbox: Its accepted deliveries.
        history: Its history, if it keeps one.
    """

    store: Store
    inbox: OperableInbox
    history: History | None = None


async def stories_of(rooms: Rooms, event_id: str, source: str | None, tenant: str) -> list[Story]:
    """Tell what is known of an event id, of each source and tenant that it came from.

    Args:
        rooms: Where to look.
        event_id: The provider's event id.
        source: Only of this source, whose story is told even if nothing is known.
        tenant: Of which tenant that story is.
    """
    entries = Entries()
    if rooms.history is not None:
        entries = await rooms.history.story(event_id, source)
    cut = bool(entries.stopped_at)
    items = await _items(rooms.inbox, Sought(source=source, event_id=event_id))
    stories = {} if source is None else {(source, tenant): Story(event_id, source, tenant)}
    _sort(entries, items, stories, event_id)
    told = [replace(stories[place], cut=cut) for place in sorted(stories)]
    return [await _with_claim(rooms.store, story) for story in told]


async def _items(inbox: OperableInbox, sought: Sought) -> Sequence[Item]:
    try:
        return await inbox.find(sought, limit=_MOST_ITEMS)
    except SchemaError:  # an app without sources has none
        return []


def _sort(
    entries: Sequence[Entry],
    items: Sequence[Item],
    stories: dict[tuple[str, str], Story],
    event_id: str,
) -> None:
    """Sort what was found by source and tenant."""

    def story(source: str, tenant: str) -> Story:
        return stories.setdefault((source, tenant), Story(event_id, source, tenant))

    for entry in entries:
        story(entry.record.source, entry.record.tenant or "").entries.append(entry)
    for item in items:
        source = item.delivery.source
        story(source, tenant_in(item.key, source)).items.append(item)


def tenant_in(key: str, source: str) -> str:
    """Read the tenant out of a key of a source, as text."""
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
