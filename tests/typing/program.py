"""What a user writes, for ``mypy --strict``; nothing runs it.

Each ``type: ignore`` stands where the checker must object: one that is not needed is an error.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, FastAPI, Request
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import assert_type

from webhook_dedup import Dedup, Event, claim_in, deduplicate, fan_out, idempotent, once

dedup = Dedup("memory://")
app = FastAPI()


@dataclass
class Mailbox:
    address: str


@deduplicate(dedup, key=lambda order, number: order)
async def handle(order: str, number: int = 1) -> int:
    return number


@deduplicate(dedup, key=lambda order: order)
def handle_blocking(order: str) -> int:
    return 1


@deduplicate(dedup, key=lambda event: event.id)
async def consume(event: Event) -> None: ...


@idempotent(dedup, key=lambda user: user)
async def create(user: str) -> Mailbox:
    return Mailbox(user)


@idempotent(dedup, key=lambda user: user)
def create_blocking(user: str) -> Mailbox:
    return Mailbox(user)


@deduplicate(dedup, key=lambda event: event["id"])
async def handle_json(event: dict[str, Any]) -> dict[str, Any]:
    return event


@deduplicate(dedup, key=lambda event: event["id"])
def handle_json_blocking(event: dict[str, Any]) -> int:
    return 1


@idempotent(dedup, key=lambda event: event["id"])
async def create_of_json(event: dict[str, Any]) -> int:
    return 1


@idempotent(dedup, key=lambda user: user)
async def create_json(user: str) -> dict[str, Any]:
    return {}


@idempotent(dedup, key=lambda user: user)
def create_json_blocking(user: str) -> dict[str, Any]:
    return {}


@idempotent(dedup, key=lambda user: user)
def create_later(user: str) -> Coroutine[Any, Any, int]:
    return create_of_json({})


@idempotent(dedup, key=lambda user: user)
def create_optional(user: str) -> int | None:
    return None


@idempotent(dedup, key=lambda user: user)
async def create_anything(user: Any) -> Any:
    return None


class Service:
    @deduplicate(dedup, key=lambda self, order: order)
    async def handle(self, order: str, *, number: int = 1) -> int:
        return number

    @idempotent(dedup, key=lambda self, user: user)
    def create(self, user: str) -> Mailbox:
        return Mailbox(user)


@app.post("/hook")
@deduplicate(dedup, event_id="id")
async def hook(request: Request, dedup: Dedup = Depends(lambda: dedup)) -> dict[str, str]:  # noqa: B008 - FastAPI's way
    return {}


@deduplicate(dedup, event_id="id")
async def endpoint(request: StarletteRequest) -> Response:
    return Response()


route = Route("/hook", endpoint)


async def answer() -> str:
    return ""


async def results_keep_their_types(event: Event) -> None:
    assert_type(await handle("o1", number=2), int | None)
    assert_type(await handle_blocking("o1"), int | None)
    assert_type(await create("u"), Mailbox)
    assert_type(await create_blocking("u"), Mailbox)
    assert_type(await Service().handle("o1", number=2), int | None)
    assert_type(await Service.handle(Service(), "o1"), int | None)
    assert_type(await Service().create("u"), Mailbox)
    assert_type(await once.call(dedup, "k", answer), str | None)
    assert_type(await once.call(dedup, "k", lambda: answer()), str | None)  # noqa: PLW0108 - the lambda is what is tested
    assert_type(await once.call(dedup, "k", lambda: 1, ttl=60), int | None)
    assert_type(await handle_json({}), dict[str, Any] | None)
    assert_type(await handle_json_blocking({}), int | None)
    assert_type(await create_of_json({}), int)
    assert_type(await create_json("u"), dict[str, Any])
    assert_type(await create_json_blocking("u"), dict[str, Any])
    assert_type(await create_later("u"), int)
    assert_type(await create_optional("u"), int | None)
    assert_type(await create_anything("u"), Any)
    await consume(event)
    await fan_out(dedup, event, consume)


def blocking_forms_keep_their_types() -> None:
    assert_type(handle.sync("o1"), int | None)
    assert_type(create.sync("u"), Mailbox)
    assert_type(handle_json.sync({}), dict[str, Any] | None)
    assert_type(create_json_blocking.sync("u"), dict[str, Any])
    assert_type(Service().handle.sync("o1"), int | None)
    assert_type(Service().create.sync("u"), Mailbox)


async def arguments_are_checked() -> None:
    await handle(1)  # type: ignore[arg-type]  # what must be an error
    await create()  # type: ignore[call-arg]  # what must be an error
    await handle_json("evt_1")  # type: ignore[arg-type]  # what must be an error
    await handle_json_blocking({}, 5)  # type: ignore[call-arg]  # what must be an error
    await create_of_json("evt_1")  # type: ignore[arg-type]  # what must be an error
    await create_json(1)  # type: ignore[arg-type]  # what must be an error
    await Service().handle("o1", number="1")  # type: ignore[arg-type]  # what must be an error
    Service().create.sync(1)  # type: ignore[arg-type]  # what must be an error
    await Service().create("u") + "x"  # type: ignore[operator]  # what must be an error


async def claims_are_awaited_on_async_sessions(session: AsyncSession) -> None:
    await claim_in(session, "evt_1")
    claim_in(session, "evt_1")  # type: ignore[unused-coroutine]  # what must be an error


def claims_need_no_await(session: Session) -> None:
    claim_in(session, "evt_1")
