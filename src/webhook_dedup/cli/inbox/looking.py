"""What is in the inbox, as lists, tables and counts. Each command's work returns its exit code."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Literal

from ...admin.moments import instant
from ...contracts import OperableInbox, Sought
from ...model import Item
from ..items import COLUMNS, cells, details, print_details, summary
from ..output import print_json, print_table, say
from ..storage import Urls, opened_inbox

__all__ = ["list_items", "show_item", "show_stats", "walk"]

_STATES: tuple[Literal["waiting", "dead"], ...] = ("waiting", "dead")
_PER_PAGE = 50  # a page has its bodies in memory


async def list_items(urls: Urls, sought: Sought, limit: int, *, as_json: bool) -> int:
    """Print what is found, the oldest received first."""
    rows: list[tuple[str, ...]] = []
    number = 0
    async with opened_inbox(urls) as inbox:
        async for item in walk(inbox, sought, limit):
            number += 1
            if as_json:
                print_json(summary(item))
            else:
                rows.append(cells(item))
        total = number if number < limit or as_json else await inbox.count(sought)
    if rows:
        print_table(COLUMNS, rows)
    if not as_json:
        say(f"{number} of {total}" if number else "nothing found")
    return 0 if number else 1


async def show_item(urls: Urls, item_id: str, *, as_json: bool) -> int:
    """Print all of one item."""
    async with opened_inbox(urls) as inbox:
        item = await inbox.get(item_id)
    if item is None:
        say(f"no item {item_id}", err=True)
        return 1
    if as_json:
        print_json(details(item))
    else:
        print_details(item)
    return 0


async def show_stats(urls: Urls, sought: Sought, *, as_json: bool) -> int:
    """Print how many items there are of each state, and since when."""
    async with opened_inbox(urls) as inbox:
        every = {name: await _count(inbox, replace(sought, state=name)) for name in _STATES}
    if as_json:
        print_json(
            {
                name: {"count": count, "oldest_received_at": oldest}
                for name, (count, oldest) in every.items()
            }
        )
    else:
        rows = (
            (name, str(count), "-" if oldest is None else instant(oldest))
            for name, (count, oldest) in every.items()
        )
        print_table(("state", "items", "oldest received"), rows)
    return 0


async def _count(inbox: OperableInbox, sought: Sought) -> tuple[int, float | None]:
    oldest = await inbox.find(sought, limit=1)
    return await inbox.count(sought), oldest[0].delivery.received_at if oldest else None


async def walk(
    inbox: OperableInbox, sought: Sought, limit: int | None = None
) -> AsyncIterator[Item]:
    """Yield what is found, a page at a time."""
    after, left = "", sys.maxsize if limit is None else limit
    while left > 0:
        asked = min(left, _PER_PAGE)
        page = await inbox.find(sought, limit=asked, after=after)
        for item in page:
            yield item
        if len(page) < asked:
            return
        after, left = page[-1].id, left - asked
