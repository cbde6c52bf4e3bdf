"""Who looks at a history, or adds a line to it, leaves it as its app wants it."""

import asyncio

import pytest

from tests.observe.aging import age, expiries
from tests.observe.test_history import NOW, ids, keep, told
from webhook_dedup.observe.history import History
from webhook_dedup.observe.record import Kind

DAY = 86_400.0


@pytest.fixture
async def app(place):
    """A history of 90 days, with an entry that is ten days old."""
    history = History(place, keep=90 * DAY)
    await keep(history, told(Kind.RECEIVED, "old"))
    await age(history, 10 * DAY)
    yield history
    await history.aclose()


async def test_a_guest_deletes_nothing(app, place):
    """What an app keeps for months outlives a guest that adds a line, and so does its expiry."""
    before = await expiries(app)
    guest = History(place, trims=False)
    await keep(guest, told(Kind.SKIPPED, "new", at=NOW + 1), told(Kind.SKIPPED, "old"))
    await guest.aclose()
    assert sorted(ids(await app.find())) == ["new", "old", "old"]
    assert len(await app.story("old")) == 2
    after = await expiries(app)
    assert all(after[key] >= lasting - 60 > 80 * DAY for key, lasting in before.items())
    assert all(lasting > 80 * DAY for lasting in after.values())


async def test_what_only_a_guest_wrote_expires(place):
    """Where no app has decided how long keys of Redis last, none of a guest's lasts forever."""
    guest = History(place, trims=False)
    await keep(guest, told(Kind.RECEIVED))
    assert all(0 < lasting <= 8 * DAY for lasting in (await expiries(guest)).values())
    await guest.aclose()


async def test_looking_deletes_nothing(app, place):
    """Even a history that may trim does not before it has written something."""
    reader = History(place)
    assert ids(await reader.find()) == ["old"]
    await reader.flush()
    await reader.aclose()
    assert ids(await app.find()) == ["old"]


async def test_a_first_line_does_not_shorten_what_is_kept(app, place):
    """An app that begins anew lets nothing expire before it would have."""
    again = History(place, keep=90 * DAY)
    await keep(again, told(Kind.RECEIVED))
    assert all(lasting > 90 * DAY for lasting in (await expiries(again)).values())
    await again.aclose()


async def test_an_app_may_decide_to_keep_less(app, place):
    """From then on keys of Redis last as long as the app says, whatever was said before."""
    anew = History(place, keep=DAY)
    await keep(anew, told(Kind.RECEIVED, "old"))
    assert all(lasting <= 2 * DAY for lasting in (await expiries(anew)).values())
    await anew.aclose()


async def test_a_reader_of_nothing_is_silent(tmp_path, caplog):
    """Closing after a look at a place without a history tells of no failure to write."""
    reader = History(f"sqlite:///{tmp_path}/history.db", create=False)
    await reader.aclose()
    assert not caplog.records


async def test_a_search_stops_and_goes_on(place):
    """A search of few pages says where it stopped, and finds all when it goes on from there."""
    history = History(place)
    for n in range(7):
        await keep(history, told(Kind.RECEIVED, f"evt_{n}", source="ab"[n % 2], at=NOW + n))
    whole = await history.find(source="a")
    assert not whole.stopped_at
    found, after, looks = [], "", 0
    while True:
        some = await history.find(source="a", after=after, most_pages=1, limit=10)
        found += some
        looks += 1
        after = some.stopped_at
        if not after:
            break
    assert found == whole
    assert 4 <= looks <= 7
    await history.aclose()


async def test_a_limit_is_no_stop(place):
    """A search that found as many as were asked for goes on behind the last of them."""
    history = History(place)
    await keep(history, *(told(Kind.RECEIVED, f"evt_{n}", at=NOW + n) for n in range(5)))
    some = await history.find(limit=2, most_pages=1)
    assert (ids(some), some.stopped_at) == (["evt_4", "evt_3"], "")
    assert ids(await history.find(after=some[-1].id, most_pages=1)) == ["evt_2", "evt_1", "evt_0"]
    await history.aclose()


async def test_a_story_of_very_many_copies_is_bounded(place):
    """Of an event with thousands of copies the first and the last are told, and nobody waits."""
    history = History(place)
    for start in range(0, 130 * 200, 26 * 200):
        copies = (told(Kind.SKIPPED, at=NOW + n / 1000) for n in range(start, start + 26 * 200))
        await keep(history, *copies)
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.ensure_future(others())
    story = await history.story("evt_1")
    beside.cancel()
    assert turns >= 125
    assert len(story) == 125 * 200
    moments = [entry.record.at for entry in story]
    assert moments == sorted(moments)
    assert (moments[0], moments[-1]) == (NOW, NOW + (130 * 200 - 1) / 1000)
    assert story[25 * 200 - 1].id.startswith(story.stopped_at)
    await history.aclose()


async def test_a_story_of_a_few_copies_is_whole(place):
    """A story that fits is told to its end, and says so."""
    history = History(place)
    await keep(history, *(told(Kind.SKIPPED, at=NOW + n / 1000) for n in range(500)))
    story = await history.story("evt_1")
    assert (len(story), story.stopped_at) == (500, "")
    await history.aclose()


async def test_no_story_has_redis_read_an_event_whole(redis_server):
    """Of an event with very many copies the server reads what is told, and holds up no claim."""
    history = History(redis_server.url)
    await keep(history, *(told(Kind.SKIPPED, at=NOW + n / 1000) for n in range(500)))
    with redis_server.client() as look:
        look.config_resetstat()
        assert len(await history.story("evt_1")) == 500
        assert look.info("commandstats").keys().isdisjoint({"cmdstat_smembers", "cmdstat_sort"})
    await history.aclose()
