"""A store in SQLite that is used on one event loop after another."""

import asyncio
from contextlib import ExitStack

import pytest

from tests.stores.sql_support import bids, driver_of, file_locked, outcomes, until
from webhook_dedup.errors import StoreUnavailable
from webhook_dedup.model import Outcome
from webhook_dedup.stores.sql import SqlStore

# It is aiosqlite's thread that dies, when it answers a loop that is closed.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "claims.db"


@pytest.fixture
def store(path):
    store = SqlStore.from_url(f"sqlite:///{path}")
    asyncio.run(store.start())
    yield store
    asyncio.run(store.aclose())


async def begin(store):
    """Begin a claim; return it, and the thread that has it when the file's lock is waited for."""
    await store.start()  # it leaves what it has to a loop that has ended
    driver = await driver_of(store)
    told: list[str] = []
    await driver.set_trace_callback(told.append)
    asked = asyncio.ensure_future(store.claim(bids(1)))
    await until(lambda: asyncio.sleep(0, told))
    return asked, driver._thread


def cut_off(store):
    """End a loop in the middle of a claim; return the thread that the claim is left to."""
    _, thread = asyncio.run(begin(store))
    return thread


async def claimed(store):
    return outcomes(await store.claim(bids(2)))


def test_a_loop_that_ended_in_the_middle_of_a_claim_is_followed_by_another(store, path):
    """The store is served on the next loop, though its thread has died with the last one."""
    with file_locked(path):
        thread = cut_off(store)
    thread.join()
    assert asyncio.run(claimed(store)) == {Outcome.FRESH}


def test_a_claim_left_under_way_does_not_hold_up_the_next_loop(store, path):
    """The store is served on the next loop while its thread still has what the last one asked."""

    async def claimed_after_release():
        asked = asyncio.ensure_future(claimed(store))
        await asyncio.sleep(0)
        lock.close()
        return await asked

    with ExitStack() as lock:
        lock.enter_context(file_locked(path))
        thread = cut_off(store)
        assert asyncio.run(claimed_after_release()) == {Outcome.FRESH}
    thread.join()


def test_a_store_is_closed_on_another_loop_than_it_was_cut_off_on(store, path):
    """Nobody waits for a thread that died; the file is free, and the store may begin again."""
    with file_locked(path):
        thread = cut_off(store)
    thread.join()
    asyncio.run(store.aclose())
    with file_locked(path):
        pass
    assert asyncio.run(claimed(store)) == {Outcome.FRESH}


def test_a_loop_that_stands_still_does_not_hang_the_next(tmp_path):
    """While a claim of one loop has the connection, those of another are told so in time."""
    path = tmp_path / "claims.db"
    store = SqlStore.from_url(f"sqlite:///{path}?timeout=0.1")
    still = asyncio.new_event_loop()
    still.run_until_complete(store.start())
    with file_locked(path):
        asked, _ = still.run_until_complete(begin(store))
        with pytest.raises(StoreUnavailable, match="connection timed out"):
            asyncio.run(claimed(store))
        with pytest.raises(StoreUnavailable):
            still.run_until_complete(asked)
    still.run_until_complete(store.aclose())
    still.close()


def test_what_waits_on_a_loop_that_stands_still_is_served_when_it_goes_on(tmp_path):
    """Another loop's claim does not drop those that wait for the one writer."""
    path = tmp_path / "claims.db"
    store = SqlStore.from_url(f"sqlite:///{path}?timeout=0.1")
    still = asyncio.new_event_loop()
    still.run_until_complete(store.start())
    with file_locked(path):
        asked, _ = still.run_until_complete(begin(store))
        behind = asyncio.ensure_future(store.claim(bids(1)), loop=still)
        still.run_until_complete(asyncio.sleep(0))
        with pytest.raises(StoreUnavailable):
            asyncio.run(claimed(store))
    both = asyncio.gather(asked, behind, return_exceptions=True)
    still.run_until_complete(asyncio.wait_for(both, 10))
    still.run_until_complete(store.aclose())
    still.close()
