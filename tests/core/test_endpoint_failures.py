"""What FastAPI sees of an endpoint that raised: its dependencies and tasks go by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi import Request as FastAPIRequest
from starlette.responses import PlainTextResponse, Response

from webhook_dedup import (
    AlreadyDone,
    ConfigError,
    Discard,
    InProgress,
    Policy,
    Retry,
    StoreUnavailable,
    deduplicate,
)
from webhook_dedup.errors import LeaseLost, OverBudget, RejectedDelivery

from .kit import CueStore, eventually
from .virtual import LoopClock, in_virtual_time


async def transaction(request: FastAPIRequest) -> AsyncIterator[None]:
    """Commits like the session of any FastAPI app: unless it sees an exception."""
    ended = request.app.state.ended
    try:
        yield
    except BaseException:
        ended.append("rolled back")
        raise
    ended.append("committed")


class Shop:
    """An app whose endpoint books an order and sends a mail, or raises when it has booked.

    Attributes:
        errors: What its next runs raise; an event is waited for.
        runs: How many runs began.
        ended: How its transactions ended.
        mails: What background tasks sent.
        handled: What reached the app's own exception handler.
    """

    def __init__(self, **options: Any) -> None:
        self.errors: list[BaseException | asyncio.Event] = []
        self.runs = 0
        self.handled: list[Exception] = []
        self.store = CueStore(clock=options.pop("clock", None))
        self.app = FastAPI(exception_handlers={TimeoutError: self._apologize})
        self.ended: list[str] = []
        self.mails: list[str] = []
        self.app.state.ended = self.ended

        @self.app.post("/book")
        @deduplicate(self.store, event_id="id", **options)
        async def book(
            request: FastAPIRequest,
            tasks: BackgroundTasks,
            _: Annotated[None, Depends(transaction)],
        ) -> None:
            self.runs += 1
            tasks.add_task(self.mails.append, "booked")
            for error in self.errors[:1]:
                self.errors.clear()
                if isinstance(error, asyncio.Event):
                    await error.wait()
                else:
                    raise error

    async def _apologize(self, _: FastAPIRequest, exc: Exception) -> Response:
        self.handled.append(exc)
        return PlainTextResponse("sorry", 504)

    async def post(self) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/book", json={"id": "o1"})


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Retry("no invoice yet", after=7), 503),
        (InProgress("k", 3), 503),
        (OverBudget("spent"), 503),
        (StoreUnavailable("away"), 503),
        (LeaseLost("a lock ran out"), 503),
        (RejectedDelivery(409, "stale", "the order is closed"), 409),
        (ConfigError("a mistake"), 500),
        (ValueError("broken"), 500),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_failed_is_rolled_back(error, status):
    """A run that raised commits nothing and sends nothing; the next delivery does both."""
    shop = Shop()
    shop.errors = [error]

    assert (await shop.post()).status_code == status
    assert (shop.ended, shop.mails) == (["rolled back"], [])
    assert (await shop.post()).status_code == 200
    assert (shop.ended, shop.mails) == (["rolled back", "committed"], ["booked"])


@pytest.mark.parametrize(("after", "told"), [(0, "1"), (7, "7"), (None, "5")])
async def test_sender_is_told_when_to_come_again(after, told):
    """In the least that the header can say where that is at once."""
    shop = Shop()
    shop.errors = [Retry("not yet") if after is None else Retry("not yet", after=after)]

    assert (await shop.post()).headers["retry-after"] == told


@pytest.mark.parametrize("error", [Discard("not ours"), AlreadyDone("k")])
async def test_what_was_discarded_is_rolled_back_and_done(error):
    """A discard commits nothing either, and is acknowledged and remembered."""
    shop = Shop()
    shop.errors = [error]

    assert (await shop.post()).status_code == 200
    assert (shop.ended, shop.mails) == (["rolled back"], [])
    assert (await shop.post()).json()["duplicate"] is True
    assert shop.runs == 1


async def test_time_out_of_the_functions_own_reaches_the_apps_handler():
    """A ``TimeoutError`` that the function raised is the app's, as without the decorator."""
    shop = Shop()
    own = TimeoutError("the bank did not answer")
    shop.errors = [own]
    answer = await shop.post()

    assert (answer.status_code, answer.text) == (504, "sorry")
    assert shop.handled == [own]
    assert shop.ended == ["rolled back"]


@in_virtual_time
async def test_time_out_by_the_policy_is_rolled_back():
    """``handler_timeout`` is ours: 503, and not the app's ``TimeoutError``."""
    shop = Shop(policy=Policy(handler_timeout=5), clock=LoopClock())
    shop.errors = [asyncio.Event()]

    assert (await shop.post()).status_code == 503
    assert shop.ended == ["rolled back"]
    assert shop.handled == []


@in_virtual_time
async def test_lost_lease_is_rolled_back():
    """Another process may have booked it meanwhile."""
    shop = Shop(policy=Policy(lease=3), clock=LoopClock())
    shop.store.away.add("renew")
    shop.errors = [asyncio.Event()]

    assert (await shop.post()).status_code == 503
    assert shop.ended == ["rolled back"]


async def test_copy_ends_its_own_transaction_quietly():
    """Nothing ran for a copy, so there is nothing to roll back."""
    shop = Shop()
    gate = asyncio.Event()
    shop.errors = [gate]
    first = asyncio.ensure_future(shop.post())
    await eventually(lambda: shop.runs)

    assert (await shop.post()).json()["error"] == "in_flight"
    gate.set()
    await first
    assert (await shop.post()).json()["duplicate"] is True
    assert (shop.ended, shop.mails) == (["committed"] * 3, ["booked"])
