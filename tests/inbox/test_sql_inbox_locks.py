"""Two at the same rows of a Postgres: who waited for the other judges a row as it is by then."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from tests.inbox.sql_support import TABLE, meddle, opened
from tests.stores import sql_support
from tests.stores.sql_support import session, until
from webhook_dedup.testing.inbox_rules.case import (
    FENCED,
    a_grave,
    an_item,
    known,
    nothing_is_due,
    put,
    tell,
)
from webhook_dedup.testing.timed import LONG_LEASE

url = sql_support.url

TAKE = "token = 'other', due = due + 600"
BURY = "due = NULL, spent = 'bury', history = history || '{}' || chr(10)"
REVIVE = "due = came_due, spent = NULL, token = NULL"


@asynccontextmanager
async def changing(url, item, change):
    """Change a row in a transaction that ends with the block."""
    async with session(url) as other, other.transaction():
        await other.execute(f"UPDATE {TABLE} SET {change} WHERE id = $1", item.id)
        yield other


async def waiting_for(other, call):
    """Begin a call and see it wait for the other's lock."""
    asked = asyncio.ensure_future(call)
    await until(lambda: other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))
    return asked


@pytest.mark.parametrize("verb", FENCED)
async def test_who_lost_an_item_while_it_waited_is_refused(postgres_url, verb):
    """A holder whose item is being taken by another has no power over it any more."""
    async with opened(postgres_url) as inbox:
        item = await put(inbox, an_item(), LONG_LEASE)
        async with changing(postgres_url, item, TAKE) as other:
            asked = await waiting_for(other, FENCED[verb](inbox, item))
        assert not await asked
        assert tell(await known(inbox, item)) == tell(item)
        assert await nothing_is_due(inbox)


async def test_what_was_buried_meanwhile_is_not_shelved(postgres_url):
    """A person who shelves what is being buried adds no reason to a dead letter."""
    async with opened(postgres_url) as inbox:
        item = await put(inbox, an_item(), LONG_LEASE)
        async with changing(postgres_url, item, BURY) as other:
            asked = await waiting_for(other, inbox.shelve([item.id], "stop"))
        assert await asked == 0
        assert len((await known(inbox, item)).history) == 1


async def test_what_was_requeued_meanwhile_is_no_dead_letter(postgres_url):
    """The success of its event does not close a dead letter that a person is bringing back."""
    async with opened(postgres_url) as inbox:
        grave = await a_grave(inbox, key="key")
        async with changing(postgres_url, grave, REVIVE) as other:
            asked = await waiting_for(other, inbox.done([an_item(key="key")]))
        await asked
        assert not (await known(inbox, grave)).dead


async def test_what_another_is_taking_is_passed_by(postgres_url):
    """A taker neither waits for another nor is given the same item."""
    async with opened(postgres_url) as inbox:
        taken = await put(inbox, an_item(), 0.0)
        left = await put(inbox, an_item(), 0.0)
        async with changing(postgres_url, taken, TAKE):
            assert [each.id for each in await inbox.take(10, LONG_LEASE)] == [left.id]
        assert await nothing_is_due(inbox)


async def test_longest_due_come_first_wherever_they_lie(url):
    """Items come in the order of their due times, not in that of an index or of their rows."""
    async with opened(url) as inbox:
        items = [await put(inbox, an_item(), 0.0) for _ in range(5)]
        for number, item in enumerate(items):
            await meddle(inbox, f"UPDATE {TABLE} SET due = {-number} WHERE id = :id", id=item.id)
        await meddle(inbox, f"DROP INDEX {TABLE}_due")
        taken = [*await inbox.take(3, LONG_LEASE), *await inbox.take(3, LONG_LEASE)]
        assert [each.id for each in taken] == [item.id for item in items[::-1]]
