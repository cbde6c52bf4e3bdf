"""A Redis inbox with many items, and with large ones."""

import asyncio
import os
import time

import pytest
from msgspec.structs import replace

from webhook_dedup.contracts import Sought
from webhook_dedup.inbox.redis import RedisInbox
from webhook_dedup.testing.inbox_rules.case import an_attempt, an_item, put, take_one

LONG = 600.0
MANY = 20_000
HANG = 20.0
"""Seconds after which a search that goes round in circles is ended."""
MEGABYTE = 1024 * 1024


@pytest.fixture
async def own(redis_server):
    """An inbox on a server of the test's own."""
    inbox = RedisInbox.from_url(redis_server.url)
    yield inbox
    await inbox.aclose()


async def test_many_items(redis_server, own):
    """Among twenty thousand waiting items no verb does more than its own work."""
    items = [an_item(received_at=float(number), source=f"s{number % 10}") for number in range(MANY)]
    await own.put(items, 0.0)
    with redis_server.client() as look:
        assert look.info("memory")["used_memory"] < 2_500 * MANY
        look.config_resetstat()
        taken = await own.take(64, LONG)
        assert len(taken) == 64
        assert all(await own.begin(taken))
        assert await own.bury(taken[0], an_attempt("late"))
        await own.done(taken[1:])
        assert await own.next_due() == 0
        assert await own.count(Sought()) == MANY - 63
        assert [each.id for each in await own.find(Sought(state="dead"))] == [taken[0].id]
        assert commands(look) < 64 * 25


async def test_looking_for_some_of_many(own):
    """A filter finds what it means among thousands, from any id on."""
    items = [
        an_item(received_at=float(number), source=f"s{number % 10}") for number in range(3_000)
    ]
    await own.put(items, LONG)
    assert await own.count(Sought(source="s3")) == 300
    (found,) = await own.find(Sought(source="s9"), limit=1, after=items[-20].id)
    assert found.id == items[-11].id
    assert await own.bury(items[2_500], an_attempt("too LATE"))
    assert [each.id for each in await own.find(Sought(error="Late"))] == [items[2_500].id]
    assert await own.bury(items[7], an_attempt("Échec"))
    assert [each.id for each in await own.find(Sought(error="éCHEC"))] == [items[7].id]
    assert not await own.find(Sought(error="nowhere"))


async def test_what_is_not_sought_is_not_sent(redis_server, own):
    """To find one event, source or error among thousands costs the server's answers little."""
    items = [
        replace(
            an_item(received_at=float(number), source=f"s{number % 100}", event_id=f"evt_{number}"),
            history=(an_attempt("down"), an_attempt(f'Refused: "Order {number}"\n')),
        )
        for number in range(3_000)
    ]
    await own.put(items, LONG)
    with redis_server.client() as look:
        before = look.info("stats")["total_net_output_bytes"]
        (found,) = await own.find(Sought(event_id="evt_1777"))
        assert found.id == items[1_777].id
        assert await own.count(Sought(source="s77")) == 30
        assert not await own.find(Sought(source="s77", event_id="evt_1776"))
        (found,) = await own.find(Sought(error='ORDER 1777"\n'))
        assert found.id == items[1_777].id
        assert not await own.count(Sought(error="down"))
        assert look.info("stats")["total_net_output_bytes"] - before < 20 * len(items)


async def test_long_histories_hold_up_no_server(own):
    """To find the last error of an item takes no longer than to read its history once."""
    long, short = an_attempt("x" * 100_000), an_attempt("timeout")
    item, other = (
        replace(an_item(), history=(long, short)),
        replace(an_item(), history=(short, long)),
    )
    await own.put([item, other], LONG)
    assert await own.count(Sought(error="timeout")) == 1
    assert [each.id for each in await own.find(Sought(error="TIMEOUT"))] == [item.id]


async def test_waiting_behind_many_dead_letters(redis_server, own):
    """What waits is found without a look into the dead letters that were received before it."""
    items = [an_item(received_at=float(number)) for number in range(3_000)]
    await own.put(items, LONG)
    alive = [items[number] for number in (0, 249, 250, 2_000, 2_999)]
    assert await own.shelve([item.id for item in items if item not in alive], "stop") == 2_995
    with redis_server.client() as look:
        look.config_resetstat()
        found = await own.find(Sought(state="waiting"))
        assert [item.id for item in found] == [item.id for item in alive]
        assert commands(look) < 1.2 * len(items)
    aged = Sought(state="waiting", older_than=time.time() - 2_500.5)
    assert [item.id for item in await own.find(aged, after=items[0].id)] == [
        item.id for item in alive[1:-1]
    ]


def commands(look):
    """How many commands the server has run, those of scripts included."""
    return sum(each["calls"] for each in look.info("commandstats").values())


@pytest.mark.parametrize(
    ("number", "size", "scripts"),
    [(128, 1, 1), (129, 1, 2), (257, 1, 3), (20, MEGABYTE, 7), (2, 20 * MEGABYTE, 2)],
)
async def test_a_large_batch_goes_in_portions(redis_server, own, number, size, scripts):
    """No script holds up the server for long, and none is given more than 4 MB at once."""
    await put(own, an_item(), LONG)  # so that the server knows the script
    items = [an_item(body=b"x" * size) for _ in range(number)]
    with redis_server.client() as look:
        look.config_resetstat()
        await own.put(items, LONG)
        assert look.info("commandstats")["cmdstat_evalsha"]["calls"] == scripts
    assert await own.count(Sought()) == number + 1


async def test_a_backlog_of_large_bodies_is_read_a_few_at_a_time(redis_server, own):
    """A slow line brings 4 MB before the time-out; it would bring 20 MB of due items never."""
    items = [an_item(body=b"x" * MEGABYTE) for _ in range(20)]
    await own.put(items, 0.0)
    with redis_server.client() as look:
        look.config_resetstat()
        assert len(await own.find(Sought(), limit=len(items))) == len(items)
        assert look.info("commandstats")["cmdstat_evalsha"]["calls"] > len(items) / 4
    taken = []
    while some := await own.take(64, LONG):
        assert len(some) <= 4
        taken += [item.id for item in some]
    assert sorted(taken) == sorted(item.id for item in items)


async def test_a_take_is_bounded_whatever_its_limit(own):
    """Who asks for all that is due does not hold up the server for it."""
    await own.put([an_item() for _ in range(1_100)], 0.0)
    assert [len(await own.take(10_000, LONG)) for _ in range(3)] == [1_000, 100, 0]


async def test_what_lies_behind_the_backlog_of_another_app_takes_few_calls(redis_server, own):
    """Who wants one item asks for more at a time where it must pass by thousands."""
    await own.put([an_item(source="other") for _ in range(3_000)], 0.0)
    mine = await put(own, an_item(source="own"), 0.0)
    with redis_server.client() as look:
        look.config_resetstat()
        assert [each.id for each in await own.take(1, LONG, sources=["own"])] == [mine.id]
        assert look.info("commandstats")["cmdstat_evalsha"]["calls"] < 10


async def test_pages_of_items_received_at_once(own):
    """Items that arrived at the same moment are each on one page, though the last one leaves."""
    items = [an_item() for _ in range(1_200)]
    await own.put(items, LONG)
    seen, after = [], ""
    while page := await own.find(Sought(), limit=100, after=after):
        seen += [each.id for each in page]
        after = page[-1].id
    assert seen == sorted(item.id for item in items)


async def test_items_received_at_once_that_leave_as_they_are_looked_at(own):
    """Each comes once, those that stay too, though the one to go on behind is always gone."""
    items = [an_item() for _ in range(600)]
    await own.put(items, LONG)
    seen = []
    async for item_id in own._pages.ids(Sought()):
        seen.append(item_id.decode())
        if len(seen) > 100:
            assert await own.purge(seen[-1:]) == 1
    assert seen == sorted(item.id for item in items)


async def test_a_filter_holds_up_the_server_for_a_few_items_at_a_time(redis_server, own):
    """Between two portions of what is looked through others have their turn."""
    await own.put([an_item() for _ in range(1_000)], LONG)
    with redis_server.client() as look:
        look.config_resetstat()
        assert await own.count(Sought(source="none of which there is anything")) == 0
        assert look.info("commandstats")["cmdstat_evalsha"]["calls"] >= 4


async def test_purging_page_by_page(own):
    """What follows a page is found though the page was purged."""
    items = [an_item(received_at=float(number)) for number in range(250)]
    await own.put(items, LONG)
    purged, after = 0, ""
    while page := await own.find(Sought(state="waiting"), limit=100, after=after):
        purged += await own.purge([each.id for each in page])
        after = page[-1].id
    assert purged == 250


async def test_pages_of_what_came_lately(own):
    """Behind an id only those that follow are found, however far before it they begin."""
    items = [an_item(received_at=1_000.0 * number) for number in range(700)]
    await own.put(items, LONG)
    lately = Sought(younger_than=time.time() - 99_500.0)
    found = await asyncio.wait_for(own.find(lately, limit=1_000, after=items[399].id), HANG)
    assert [each.id for each in found] == [item.id for item in items[400:]]


async def test_requeueing_page_by_page(own):
    """What follows a page of dead letters is found though they live again."""
    items = [an_item() for _ in range(250)]
    await own.put(items, LONG)
    assert await own.shelve([item.id for item in items], "stop") == 250
    found, after = [], ""
    while page := await own.find(Sought(state="dead"), limit=100, after=after):
        assert await own.requeue([each.id for each in page]) == len(page)
        found += [each.id for each in page]
        after = page[-1].id
    assert found == sorted(item.id for item in items)


async def test_large_bodies(redis_server, own):
    """Bodies of 25 MB come back byte for byte, a few at a time, and leave no memory behind."""
    bodies = [os.urandom(25 * MEGABYTE) for _ in range(3)]
    items = [an_item(body=body) for body in bodies]
    await own.put(items, 0.0)
    found = await own.find(Sought())
    assert {each.id: each.delivery.body for each in found} == {
        item.id: item.delivery.body for item in items
    }
    for item in items:
        taken = await take_one(own, LONG)
        assert taken.delivery == item.delivery
        await own.done([taken])
    for _ in range(300):
        await own.done([await put(own, an_item(), LONG)])
    with redis_server.client() as look:
        assert look.info("memory")["used_memory"] < 100 * MEGABYTE
