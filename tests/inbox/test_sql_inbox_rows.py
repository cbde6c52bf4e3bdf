"""What stands in the rows, what becomes of corrupt ones, and how they are found."""

import logging
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from tests.inbox.sql_support import TABLE, meddle, opened
from tests.stores import sql_support
from webhook_dedup.contracts import Sought
from webhook_dedup.errors import StoreUnavailable
from webhook_dedup.inbox.sql.rows import escaped, unescaped
from webhook_dedup.testing.inbox_rules.case import a_grave, an_attempt, an_item, known, take_one
from webhook_dedup.testing.timed import LONG_LEASE

url = sql_support.url

ANY_TEXT = st.text(st.characters(exclude_categories=()))
MANY = 20_000


@given(ANY_TEXT)
def test_every_text_survives_the_column(text):
    """Escaped text can be stored by any database and is read back exactly."""
    stored = escaped(text)
    assert "\0" not in stored
    stored.encode()
    assert unescaped(stored) == text


@given(ANY_TEXT, ANY_TEXT)
def test_two_texts_never_look_alike(one, other):
    """Different texts are different in the column."""
    assert (escaped(one) == escaped(other)) == (one == other)


async def test_rows_are_readable_by_people(url):
    """Who looks into the table finds names and errors as text."""
    async with opened(url) as inbox:
        await a_grave(inbox, "KeyError: 'order'", key="7:webhook:e", event_id="e", source="stripe")
        shown = await meddle(inbox, f"SELECT key, event_id, source, last_error, due FROM {TABLE}")
        assert tuple(shown.one()) == ("7:webhook:e", "e", "stripe", "KeyError: 'order'", None)


@pytest.mark.parametrize("head", [b"", b"\x00\xff", b"[]", b'{"v": 99}', b'{"v": 1}', b"[" * 9_999])
async def test_a_corrupt_head_is_set_aside(url, head, caplog):
    """Whatever stands in the place of a head, the row is kept dead and the rest go on."""
    await one_of_three_is_dead(url, caplog, "head = :head", head=head)


@pytest.mark.parametrize(
    "change",
    ["head = 'text'", "head = 1.5", "source = CAST(x'ff' AS TEXT), key = CAST(x'ff' AS TEXT)"],
)
async def test_a_cell_of_another_type_is_set_aside(tmp_path, change, caplog):
    """SQLite keeps anything anywhere; a row that cannot be read keeps no other from running."""
    await one_of_three_is_dead(f"sqlite:///{tmp_path}/inbox.db", caplog, change)


async def one_of_three_is_dead(url, caplog, change, **parameters):
    async with opened(url) as inbox:
        items = [an_item(body=b"%d" % number) for number in range(3)]
        await inbox.put(items, 0.0)
        changing = f"UPDATE {TABLE} SET {change} WHERE id = :id"
        await meddle(inbox, changing, id=items[1].id, **parameters)
        with caplog.at_level(logging.ERROR, "webhook_dedup"):
            taken = await inbox.take(10, LONG_LEASE)
        assert {each.id for each in taken} == {items[0].id, items[2].id}
        assert items[1].id in caplog.text
        (dead,) = await inbox.find(Sought(state="dead"))
        assert (dead.id, dead.delivery.body) == (items[1].id, b"1")
        assert dead.history[-1].error
        assert await inbox.purge([dead.id]) == 1


async def test_a_row_that_cannot_be_set_aside_now(url, monkeypatch):
    """What was taken beside it is handed over, and not held for a lease by nobody."""
    async with opened(url) as inbox:
        bad, good = an_item(), an_item()
        await inbox.put([bad, good], 0.0)
        await meddle(inbox, f"UPDATE {TABLE} SET head = :head WHERE id = :id", head=b"", id=bad.id)

        async def away(*_):
            raise StoreUnavailable("told to fail")

        with monkeypatch.context() as patch:
            patch.setattr(inbox, "bury", away)
            assert (await take_one(inbox, LONG_LEASE)).id == good.id
        assert not (await known(inbox, bad)).dead


async def test_a_take_is_bounded_whatever_its_limit(url):
    """Who asks for all that is due does not get more at once than there is room for."""
    async with opened(url) as inbox:
        await inbox.put([an_item() for _ in range(600)], 0.0)
        assert [len(await inbox.take(10_000, LONG_LEASE)) for _ in range(3)] == [500, 100, 0]


@pytest.mark.parametrize("change", ["history = :bad", "history = history || :bad || history"])
async def test_a_corrupt_history_keeps_nothing_from_running(url, change):
    """An unreadable entry is shown as such, and the delivery runs."""
    async with opened(url) as inbox:
        item = an_item()
        await inbox.put([item], 0.0)
        assert await inbox.retry(item, 0.0, an_attempt())
        await meddle(inbox, f"UPDATE {TABLE} SET {change}", bad="no JSON\n")
        taken = await take_one(inbox, 0.0)
        assert taken.delivery == item.delivery
        assert any("unreadable" in each.error for each in taken.history)


async def test_a_body_of_text_is_read_as_its_bytes(tmp_path):
    """A body that somebody edited as text in SQLite is a body."""
    async with opened(f"sqlite:///{tmp_path}/inbox.db") as inbox:
        await inbox.put([an_item()], 0.0)
        await meddle(inbox, f"UPDATE {TABLE} SET body = 'edited'")
        assert (await take_one(inbox, 0.0)).delivery.body == b"edited"


async def test_the_longest_due_come_first(url):
    """Of more than fit the longest due are handed over, in order."""
    async with opened(url) as inbox:
        items = [an_item() for _ in range(6)]
        for place in (3, 0, 5, 1, 4, 2):
            await inbox.put([items[place]], 0.0)
            due = f"UPDATE {TABLE} SET due = {place} WHERE id = :id"
            await meddle(inbox, due, id=items[place].id)
        taken = [*await inbox.take(4, LONG_LEASE), *await inbox.take(4, LONG_LEASE)]
        assert [each.id for each in taken] == [item.id for item in items]


async def test_many_rows_are_never_all_touched(url):
    """Of 20,000 rows every verb reads only its own, by an index."""
    async with opened(url) as inbox:
        items = [an_item(key=f"k{n}", event_id=f"e{n}") for n in range(MANY)]
        await inbox.put(items[:1_000], 0.0)
        await inbox.put(items[1_000:], LONG_LEASE)
        if inbox.name == "postgres":
            await meddle(inbox, f"ANALYZE {TABLE}")
        async with plans_of(inbox) as plans:
            taken = await inbox.take(50, LONG_LEASE)
            await inbox.next_due()
            await inbox.renew(taken, LONG_LEASE)
            await inbox.begin(taken)
            await inbox.retry(taken[0], 0.0, an_attempt())
            await inbox.defer(taken[1], 0.0)
            await inbox.bury(taken[2], an_attempt())
            await inbox.done(taken[3:5])
            await inbox.requeue([taken[5].id])
            await inbox.shelve([taken[6].id], "enough")
            await inbox.purge([taken[7].id])
            await inbox.find(Sought(event_id="e7"))
            await inbox.find(Sought(older_than=1.0), limit=10, after=items[9].id)
        assert len(plans) == 14
        for statement, plan in plans:
            assert "_pkey" in plan or "_inbox_" in plan, statement
            assert "Seq Scan" not in plan, statement
            assert f"SCAN {TABLE}" not in plan, statement
        assert {"due" in plan for _, plan in plans[:2]} == {True}
        assert await inbox.count(Sought()) == MANY - 3


@asynccontextmanager
async def plans_of(inbox):
    """Collect what the inbox sends, each with the plan its database makes of it."""
    sent, plans = [], []
    engine = inbox._database.engine

    def note(conn, cursor, statement, parameters, *_):
        sent.append((statement, parameters))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    inbox._database._connections._driver = None
    try:
        yield plans
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", note)
    explain = "EXPLAIN" if inbox.name == "postgres" else "EXPLAIN QUERY PLAN"
    async with engine.connect() as connection:
        for statement, parameters in sent:
            rows = await connection.exec_driver_sql(f"{explain} {statement}", parameters)
            plans.append((statement, "\n".join(str(row[-1]) for row in rows)))
