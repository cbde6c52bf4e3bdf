"""Finds what is known of an event, wherever it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..contracts import Inspector, OperableInbox, Sought, Store
from ..errors import TableAbsent
from ..keys import joined
from ..model import Item, Key
from ..observe.history import Entries, Entry, History
from .story import Story

__all__ = ["Storage", "key_of_request", "keys_of", "stories_of", "tenant_in"]

_MOST_ITEMS = 100
_MOST_REQUESTS = 100


def keys_of(event_id: str, source: str, tenant: str) -> list[str]:
    """Return the keys that an event may have, by what a log line says of it.

    The key of a source's event comes first. ``once``, functions and guards claim under the very
    name that they are recorded with.
    """
    return [str(Key(scope, event_id, tenant)) for scope in (f"webhook:{source}", source)]


def key_of_request(request: str, event_id: str, source: str, tenant: str) -> str:
    """Return the key that ``IdempotencyMiddleware`` makes of a request and the id it came with.

    The request is method and path, as they are recorded as its type.
    """
    method, _, path = request.partition(" ")
    return str(Key(source, joined([method, path, event_id]), tenant))


@dataclass(frozen=True, slots=True)
class Storage:
    """What an app writes to.

    Attributes:
        store: Its store of claims.
        inbox: Its inbox of accepted deliveries.
        history: Its history, if it keeps one.
    """

    store: Store
    inbox: OperableInbox
    history: History | None = None


async def stories_of(
    storage: Storage, event_id: str, source: str | None, tenant: str, request: str = ""
) -> list[Story]:
    """Tell what is known of an event id, of each source and tenant that it came from.

    Args:
        storage: Where to look.
        event_id: The provider's event id.
        source: Only of this source, whose story is told even if nothing is known.
        tenant: Only of this tenant, unless it is empty.
        request: Method and path of a key of ``IdempotencyMiddleware``, where no history has them.
    """
    entries = Entries()
    if storage.history is not None:
        entries = await storage.history.story(event_id, source)
    cut = bool(entries.stopped_at)
    items = await _items(storage.inbox, Sought(source=source, event_id=event_id))
    stories = {} if source is None else {(source, tenant): Story(event_id, source, tenant)}
    _sort(entries, items, stories, event_id)
    places = sorted(place for place in stories if tenant in {"", place[1]})
    told = [replace(stories[place], cut=cut) for place in places]
    return [await _with_claim(storage.store, story, request) for story in told]


async def _items(inbox: OperableInbox, sought: Sought) -> Sequence[Item]:
    try:
        return await inbox.find(sought, limit=_MOST_ITEMS)
    except TableAbsent:  # an app without sources has none
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


async def _with_claim(store: Store, story: Story, request: str) -> Story:
    """Add how the event stands in the store."""
    if not isinstance(store, Inspector):
        return story
    named = story.event_id, story.source, story.tenant
    keys = keys_of(*named) + [key_of_request(each, *named) for each in _requests(story, request)]
    claims = await store.look(keys)
    return replace(story, claim=next(filter(None, claims), None))


def _requests(story: Story, request: str) -> list[str]:
    """Return what may be requests of a story, the last one first."""
    types = (entry.record.event_type for entry in reversed(story.entries))
    found = [each for each in (request, *types) if each and " /" in each]
    return list(dict.fromkeys(found))[:_MOST_REQUESTS]
