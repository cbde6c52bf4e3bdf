"""``@deduplicate`` on Starlette and FastAPI endpoints, under postponed annotations."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException, Path
from fastapi import Request as FastAPIRequest
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from webhook_dedup import (
    AlreadyDone,
    Dedup,
    Discard,
    InProgress,
    Policy,
    Retry,
    StoreUnavailable,
    deduplicate,
)
from webhook_dedup.errors import LeaseLost, OverBudget, RejectedDelivery
from webhook_dedup.guards import Check
from webhook_dedup.observe.record import Kind
from webhook_dedup.stores import MemoryStore

from ..asgi.kit import TestClient
from .kit import CueStore, Records, eventually
from .virtual import LoopClock, in_virtual_time

DONE = {"received": True, "duplicate": True}


class Endpoint:
    """A Starlette app with one decorated endpoint that answers as it is told.

    Attributes:
        outcomes: What its next runs return or raise; a plain 200 when there are none.
    """

    def __init__(self, event_id: Any = "id", **options: Any) -> None:
        self.records = Records()
        self.store = CueStore(clock=options.pop("clock", None))
        self.outcomes: list[Any] = []
        self.bodies: list[bytes] = []
        dedup = Dedup(self.store, observers=[self.records], policy=options.pop("policy", None))
        hook = deduplicate(dedup, event_id=event_id, **options)(self._hook)
        self.app = Starlette(routes=[Route("/hook", hook, methods=["POST"])])

    async def _hook(self, request: Request) -> Response:
        self.bodies.append(await request.body())
        outcome = self.outcomes.pop(0) if self.outcomes else PlainTextResponse("handled")
        if isinstance(outcome, asyncio.Event):
            await outcome.wait()
            return PlainTextResponse("handled")
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def post(self, content: Any = b'{"id": "evt_1"}', **options: Any) -> httpx.Response:
        return await post(self.app, content, **options)


async def post(app: Any, content: Any, path: str = "/hook", **options: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.post(path, content=content, **options)


async def test_duplicate_is_answered_without_a_run():
    """The first answer is the endpoint's; later ones say that the event is known."""
    endpoint = Endpoint()

    assert (await endpoint.post()).text == "handled"
    again = await endpoint.post()
    assert (again.status_code, again.json()) == (200, DONE)
    assert endpoint.bodies == [b'{"id": "evt_1"}']


async def test_copy_of_a_running_event_is_asked_to_come_again():
    """In flight: 503 with ``Retry-After``, as a 4xx would end a provider's retries."""
    endpoint = Endpoint()
    gate = asyncio.Event()
    endpoint.outcomes = [gate]
    first = asyncio.ensure_future(endpoint.post())
    await eventually(lambda: endpoint.bodies)
    copy = await endpoint.post()
    gate.set()

    assert copy.status_code == 503
    assert copy.json()["error"] == "in_flight"
    assert 1 <= int(copy.headers["retry-after"]) <= 30
    assert (await first).text == "handled"


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (PlainTextResponse("no", 500), 500),
        (PlainTextResponse("no", 503), 503),
        (PlainTextResponse("no", 400), 400),
        (PlainTextResponse("no", 429), 429),
        (PlainTextResponse("moved", 307), 307),
        (StarletteHTTPException(404), 404),
        (StarletteHTTPException(503), 503),
        (ValueError("broken"), 500),
        (Retry("later", after=7), 503),
        (InProgress("k", 3), 503),
        (StoreUnavailable("away"), 503),
        (OverBudget("spent"), 503),
        (LeaseLost("a lock ran out"), 503),
        (RejectedDelivery(409, "stale", "the order is closed"), 409),
        (TimeoutError("a call of mine"), 500),
    ],
    ids=lambda value: getattr(value, "status_code", None) or type(value).__name__,
)
async def test_failure_releases_the_event(outcome, status):
    """What is not a 2xx reaches the sender as it is, and the next delivery runs."""
    endpoint = Endpoint()
    endpoint.outcomes = [outcome]

    assert (await endpoint.post()).status_code == status
    assert (await endpoint.post()).text == "handled"
    assert len(endpoint.bodies) == 2


async def test_retry_after_of_the_handler_is_told():
    """``Retry(after=…)`` becomes the ``Retry-After`` header, in whole seconds."""
    endpoint = Endpoint()
    endpoint.outcomes = [Retry(after=6.2)]

    assert (await endpoint.post()).headers["retry-after"] == "7"


@pytest.mark.parametrize(("status", "runs"), [(None, 1), (202, 1), (429, 2), (503, 2)])
async def test_status_written_into_the_response_of_fastapi(status, runs):
    """What an endpoint writes into the ``Response`` that FastAPI gives it is its status."""
    app, ran = FastAPI(), []

    @app.post("/hook")
    @deduplicate(MemoryStore(), event_id="id")
    async def hook(request: FastAPIRequest, response: Response) -> dict[str, str]:
        ran.append(await request.json())
        response.status_code = status
        return {}

    assert (await post(app, b'{"id": 1}')).status_code == (status or 200)
    await post(app, b'{"id": 1}')
    assert len(ran) == runs


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_success_of_any_kind_is_remembered(status):
    """Every 2xx is done."""
    endpoint = Endpoint()
    endpoint.outcomes = [Response(status_code=status)]
    await endpoint.post()

    assert (await endpoint.post()).json() == DONE


@pytest.mark.parametrize("outcome", [Discard("not ours"), AlreadyDone("k")])
async def test_discarded_event_is_acknowledged_and_remembered(outcome):
    """``Discard`` answers 200, so that the sender stops; its reason is not the sender's."""
    endpoint = Endpoint()
    endpoint.outcomes = [outcome]

    first = await endpoint.post()
    assert (first.status_code, first.text) == (200, "received")
    assert (await endpoint.post()).json() == DONE
    assert len(endpoint.bodies) == 1


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{}", "missing_event_id"),
        (b'{"id": null}', "missing_event_id"),
        (b'{"id": "  "}', "missing_event_id"),
        (b'{"id": ["a"]}', "bad_event_id"),
        (b'{"id": "%s"}' % (b"x" * 1_000_001), "event_id_too_long"),
        (b"not json", None),
        (b"", None),
    ],
)
async def test_request_without_a_usable_id_is_refused(content, code):
    """A 400 with a JSON body that names the problem, one record, nothing claimed."""
    endpoint = Endpoint()
    answer = await endpoint.post(content)

    assert answer.status_code == 400
    assert answer.json()["error"] == (code or answer.json()["error"])
    assert endpoint.store.calls == []
    assert [record.kind for record in endpoint.records.all] == [Kind.REJECTED]


async def test_missing_id_may_be_replaced_by_a_hash_of_the_body():
    """``on_missing_id="hash_body"`` takes equal bodies for one event."""
    endpoint = Endpoint(policy=Policy(on_missing_id="hash_body"))

    assert (await endpoint.post(b'{"a": 1}')).text == "handled"
    assert (await endpoint.post(b'{"a": 1}')).json() == DONE
    assert (await endpoint.post(b'{"a": 2}')).text == "handled"


async def test_id_may_come_from_a_header():
    """The same notation as for sources."""
    endpoint = Endpoint("header:X-Event-Id")

    for name, expected in (("a", "handled"), ("b", "handled")):
        assert (await endpoint.post(b"", headers={"X-Event-Id": name})).text == expected
    assert (await endpoint.post(b"other", headers={"x-event-id": "a"})).json() == DONE


async def test_changed_body_is_a_duplicate_by_default_and_marked():
    """Several providers count attempts inside the body."""
    endpoint = Endpoint()
    await endpoint.post(b'{"id": "1", "attempt": 1}')

    assert (await endpoint.post(b'{"id": "1", "attempt": 2}')).json() == DONE
    assert endpoint.records.of(Kind.SKIPPED)[0].body_changed is True


async def test_changed_body_may_be_refused():
    """``on_mismatch="reject"`` answers 409 and runs nothing."""
    endpoint = Endpoint(policy=Policy(on_mismatch="reject"))
    await endpoint.post(b'{"id": "1", "amount": 1}')
    changed = await endpoint.post(b'{"id": "1", "amount": 2}')

    assert (changed.status_code, changed.json()["error"]) == (409, "body_changed")
    [rejected] = endpoint.records.of(Kind.REJECTED)
    assert (rejected.event_id, rejected.reason) == ("1", "body_changed")
    assert (await endpoint.post(b'{"id": "1", "amount": 1}')).json() == DONE
    assert len(endpoint.bodies) == 1


async def test_store_away_asks_the_sender_to_come_again():
    """Nothing runs without a claim; the sender is told 503."""
    endpoint = Endpoint()
    endpoint.store.away.add("claim")
    answer = await endpoint.post()

    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    assert endpoint.bodies == []


async def test_observing_only_runs_every_copy():
    """``observe_only`` records duplicates and runs them."""
    endpoint = Endpoint(policy=Policy(observe_only=True))

    assert [(await endpoint.post()).text for _ in range(2)] == ["handled"] * 2
    assert len(endpoint.records.of(Kind.SKIPPED)) == 1


async def test_streamed_response_goes_through():
    """A response that is a stream reaches the sender."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    endpoint = Endpoint()
    endpoint.outcomes = [StreamingResponse(chunks())]
    assert (await endpoint.post()).text == "ab"


@in_virtual_time
async def test_time_out_asks_the_sender_to_come_again():
    """An endpoint that took longer than its ``handler_timeout`` is answered with 503."""
    endpoint = Endpoint(policy=Policy(handler_timeout=5), clock=LoopClock())
    endpoint.outcomes = [asyncio.Event()]

    assert (await endpoint.post()).status_code == 503
    assert (await endpoint.post()).text == "handled"


async def test_guard_that_skips_is_answered_in_place_of_the_endpoint():
    """Nothing ran, so there is nothing to roll back."""
    endpoint = Endpoint(guards=[Check(lambda event, data: True)])

    assert (await endpoint.post()).json() == {"received": True}
    assert endpoint.bodies == []


async def test_function_without_a_request_is_told_so():
    """The error names the function and the remedy."""
    hook = deduplicate(MemoryStore(), event_id="id", scope="hook")(lambda event: None)
    with pytest.raises(ValueError, match="declare 'request: Request'"):
        await hook({"id": 1})


class Order(BaseModel):
    id: str
    amount: int


async def session(request: FastAPIRequest) -> AsyncIterator[str]:
    yield "session"
    request.app.state.runs.append("closed")


Session = Annotated[str, Depends(session)]


def fastapi_app(runs: list[Any]) -> FastAPI:
    app = FastAPI()
    app.state.runs = runs
    store = MemoryStore()

    @app.post("/model/{shop}")
    @deduplicate(store, event_id="id")
    async def model(
        request: FastAPIRequest, order: Order, session: Session, shop: Annotated[str, Path()]
    ) -> dict[str, Any]:
        runs.append((order.id, order.amount, session, shop))
        return {"stored": order.id}

    @app.post("/plain")
    @deduplicate(store, event_id="id")
    def plain(request: FastAPIRequest, order: Order) -> dict[str, Any]:
        runs.append(order.id)
        return {"stored": order.id}

    @app.post("/function")
    @deduplicate(store, key=lambda request, order: order.id)
    async def function(request: FastAPIRequest, order: Order) -> dict[str, Any]:
        runs.append(order.id)
        return {"stored": order.id}

    @app.post("/failing")
    @deduplicate(store, event_id="id")
    async def failing(request: FastAPIRequest) -> None:
        runs.append("run")
        raise HTTPException(503, "later")

    return app


ORDER = b'{"id": "o1", "amount": 3}'
JSON = {"content-type": "application/json"}


class Counter(HTTPEndpoint):
    @deduplicate("memory://", event_id="id", scope="class-based")
    async def post(self, request: Request) -> Response:
        return PlainTextResponse(self.scope["path"])

    @deduplicate("memory://", event_id="id", scope="bound")
    async def count(self, request: FastAPIRequest, order: Order) -> dict[str, Any]:
        return {"counted": order.amount}


async def test_methods_are_endpoints():
    """Of Starlette's class-based endpoints, and bound ones in either framework."""
    counter = Counter({"type": "http", "path": "/bound"}, None, None)  # type: ignore[arg-type]  # not served
    app = Starlette(
        routes=[Route("/hook", Counter), Route("/bound", counter.post, methods=["POST"])]
    )
    assert (await post(app, b'{"id": 1}')).text == "/hook"
    assert (await post(app, b'{"id": 1}', "/bound")).json() == DONE
    assert (await post(app, b'{"id": 2}', "/bound")).text == "/bound"

    fast = FastAPI()
    fast.post("/count")(counter.count)
    assert (await post(fast, ORDER, "/count", headers=JSON)).json() == {"counted": 3}
    assert (await post(fast, ORDER, "/count", headers=JSON)).json() == DONE


def test_signature_is_readable_from_any_module():
    """Postponed annotations are resolved where the endpoint's names are known."""

    async def hook(request: Request, order: Order) -> None: ...

    signature = inspect.signature(deduplicate(MemoryStore(), event_id="id")(hook))
    assert {name: p.annotation for name, p in signature.parameters.items()} == {
        "request": Request,
        "order": Order,
    }


async def test_fastapi_injects_models_dependencies_and_paths():
    """The decorated endpoint has the signature of the function, for FastAPI to read."""
    runs: list[Any] = []
    app = fastapi_app(runs)
    first = await post(app, ORDER, "/model/berlin", headers=JSON)
    again = await post(app, ORDER, "/model/berlin", headers=JSON)

    assert first.json() == {"stored": "o1"}
    assert again.json() == DONE
    assert runs == [("o1", 3, "session", "berlin"), "closed", "closed"]


@pytest.mark.parametrize("path", ["/plain", "/function"])
async def test_fastapi_runs_plain_endpoints_and_keyed_ones(path):
    """A plain ``def`` and a ``key=`` over the parsed model are answered the same."""
    runs: list[Any] = []
    app = fastapi_app(runs)

    assert (await post(app, ORDER, path, headers=JSON)).json() == {"stored": "o1"}
    assert (await post(app, ORDER, path, headers=JSON)).json() == DONE
    assert runs == ["o1"]


async def test_fastapi_exception_releases_the_event():
    """An ``HTTPException`` is answered by FastAPI, and the next delivery runs."""
    runs: list[Any] = []
    app = fastapi_app(runs)
    answers = [await post(app, ORDER, "/failing", headers=JSON) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [503, 503]
    assert runs == ["run", "run"]


def test_fastapi_still_validates_and_documents():
    """Bad input is FastAPI's 422, and the model is in the schema."""
    client = TestClient(fastapi_app([]))

    assert client.post("/model/x", content=b'{"id": 1}', headers=JSON).status_code == 422
    body = client.get("/openapi.json").json()["paths"]["/model/{shop}"]["post"]["requestBody"]
    assert body["content"]["application/json"]["schema"]["$ref"].endswith("/Order")


def test_test_client_without_a_lifespan_sees_the_duplicate():
    """The test client runs each request on an event loop of its own; memory outlives it."""
    runs: list[Any] = []

    @deduplicate("memory://", event_id="id", scope="test-client")
    async def hook(request: Request) -> Response:
        runs.append(1)
        return JSONResponse({})

    client = TestClient(Starlette(routes=[Route("/hook", hook, methods=["POST"])]))
    assert [client.post("/hook", content=ORDER).json() for _ in range(2)] == [{}, DONE]
    assert runs == [1]
