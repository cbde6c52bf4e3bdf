"""``webhook-dedup demo``: a real server, real connections, one event five times at once."""

from __future__ import annotations

import asyncio
import json
import logging
import statistics
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import httpx
import typer
import uvicorn
from rich import box
from rich.console import Console
from rich.table import Table
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ..asgi import WebhookDedup, event_of
from ..dedup import Dedup
from ..errors import WebhookDedupError
from ..observe.log import JsonFormatter
from ..observe.record import Kind, Record
from ..policy import Policy, Retries
from ..providers import sign
from ..source import Source

__all__ = ["demo"]

_GITHUB_SECRET = "a demo's secret"  # noqa: S105 - signs this demo's own deliveries
_STRIPE_SECRET = "whsec_a_demos_secret"  # noqa: S105 - signs this demo's own deliveries
_SETTLED_WITHIN = 10.0


def demo(
    store: Annotated[str, typer.Option(help="Store URL; an embedded SQLite file by default.")] = "",
) -> None:
    """Send signed deliveries to a real server and show that each event runs once."""
    with tempfile.TemporaryDirectory(prefix="webhook-dedup-") as folder:
        url = store or f"sqlite:///{Path(folder, 'webhooks.db')}"
        try:
            steps = asyncio.run(_run(url))
        except WebhookDedupError as exc:
            raise SystemExit(f"demo: {exc}") from exc
    _print(steps)
    wrong = [step.label for step in steps if not step.as_expected]
    for label in wrong:
        typer.echo(f"FAILED: {label}: other answers or runs than expected", err=True)
    raise typer.Exit(1 if wrong else 0)


@dataclass(slots=True)
class _Delivery:
    """One signed request."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class _Step:
    """Something the demo sends, and what came back.

    Attributes:
        label: For the table.
        delivery: What is sent, ``copies`` times at once, each over its own connection.
        answer: The status every copy should get.
        runs: How often its handler should succeed.
        answers: Status and seconds of each answer.
        told: What the records said while the step was settled.
    """

    label: str
    delivery: _Delivery
    copies: int = 1
    answer: int = 200
    runs: int = 1
    answers: list[tuple[int, float]] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)

    @property
    def as_expected(self) -> bool:
        answered = {status for status, _ in self.answers} == {self.answer}
        return answered and self.told["succeeded"] == self.runs


class _Tally:
    """Counts records by kind; skips also by reason."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def record(self, record: Record) -> None:
        self.counts[record.kind.value] += 1
        if record.kind is Kind.SKIPPED:
            self.counts[f"skipped {record.reason}"] += 1

    @property
    def settled(self) -> bool:
        """Whether every accepted copy has run to success or was skipped."""
        return self.counts["succeeded"] + self.counts["skipped"] >= self.counts["received"]


def _steps() -> list[_Step]:
    push, failing = str(uuid.uuid4()), str(uuid.uuid4())
    charge = f"evt_{uuid.uuid4().hex}"
    pushed = _github(push)
    forged = _github(str(uuid.uuid4()))
    forged.headers["X-Hub-Signature-256"] = "sha256=" + "0" * 64
    nameless = _github("")
    del nameless.headers["X-GitHub-Delivery"]
    return [
        _Step("a push, 5 copies at once", pushed, copies=5),
        _Step("the same push, redelivered", pushed, runs=0),
        _Step("a charge", _stripe(charge)),
        _Step("a bad signature", forged, answer=401, runs=0),
        _Step("no event id", nameless, answer=400, runs=0),
        _Step("a push whose handler fails first", _github(failing, fail=True)),
    ]


def _github(event: str, *, fail: bool = False) -> _Delivery:
    body = json.dumps({"ref": "refs/heads/main", "fail_first": fail}).encode()
    headers = {"X-GitHub-Delivery": event, "X-GitHub-Event": "push"}
    headers |= sign("github", secret=_GITHUB_SECRET, body=body)
    return _Delivery("/webhooks/github", headers, body)


def _stripe(event: str) -> _Delivery:
    content = {"id": event, "type": "charge.succeeded", "created": int(time.time())}
    body = json.dumps(content).encode()
    return _Delivery("/webhooks/stripe", sign("stripe", secret=_STRIPE_SECRET, body=body), body)


def _dedup(url: str, tally: _Tally) -> Dedup:
    return Dedup(
        url,
        sources=[
            Source("github", path="/webhooks/github", secret=_GITHUB_SECRET),
            Source("stripe", path="/webhooks/stripe", secret=_STRIPE_SECRET),
        ],
        observers=[tally],
        policy=Policy(lease=5, retries=Retries(initial=0.2)),
    )


def _app(dedup: Dedup) -> Starlette:
    failed: set[str] = set()

    async def handle(request: Request) -> JSONResponse:
        event = event_of(request)
        await asyncio.sleep(0.05)  # long enough for all five copies to meet
        if (await request.json()).get("fail_first") and event.id not in failed:
            failed.add(event.id)
            return JSONResponse({"error": "not yet"}, 500)
        return JSONResponse({"handled": event.id})

    routes = [Route(f"/webhooks/{name}", handle, methods=["POST"]) for name in ("github", "stripe")]
    return Starlette(routes=routes, middleware=[Middleware(WebhookDedup, dedup=dedup)])


async def _run(url: str) -> list[_Step]:
    tally = _Tally()
    steps = _steps()
    _log_as_json()
    async with (
        _dedup(url, tally) as dedup,
        _serve(_app(dedup)) as base_url,
        _connections(base_url, 5) as clients,
    ):
        for step in steps:
            before = tally.counts.copy()
            await _send(clients, step)
            await _until_settled(tally)
            step.told = tally.counts - before
    return steps


async def _until_settled(tally: _Tally) -> None:
    deadline = time.monotonic() + _SETTLED_WITHIN
    while not tally.settled and time.monotonic() < deadline:  # noqa: ASYNC110 - records set no event
        await asyncio.sleep(0.02)


def _log_as_json() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("webhook_dedup")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


@asynccontextmanager
async def _serve(app: Starlette) -> AsyncIterator[str]:
    """Serve an app on a free loopback port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="on"))
    serving = asyncio.ensure_future(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers no event for it
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def _connections(base_url: str, number: int) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Open connections, each used once so that no hand-shake is measured."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=base_url, timeout=10))
            for _ in range(number)
        ]
        await asyncio.gather(*(client.get("/") for client in clients))
        yield clients


async def _send(clients: Sequence[httpx.AsyncClient], step: _Step) -> None:
    """Send all copies of a step at once, each over a connection of its own."""
    delivery = step.delivery

    async def post(client: httpx.AsyncClient) -> tuple[int, float]:
        began = time.perf_counter()
        response = await client.post(delivery.path, content=delivery.body, headers=delivery.headers)
        return response.status_code, time.perf_counter() - began

    step.answers.extend(await asyncio.gather(*(post(client) for client in clients[: step.copies])))


def _print(steps: Sequence[_Step]) -> None:
    table = Table(title="What was sent, and what ran", box=box.SIMPLE)
    table.add_column("delivery")
    for name in ("sent", "acknowledged", "refused", "runs", "failed", "skipped"):
        table.add_column(name, justify="right")
    for step in steps:
        statuses = Counter(f"({status})" for status, _ in step.answers)
        acknowledged = statuses.pop("(200)", 0)
        table.add_row(
            step.label,
            str(step.copies),
            str(acknowledged),
            _listed(statuses),
            str(step.told["succeeded"]),
            str(step.told["failed"]),
            _listed(
                {
                    kind.removeprefix("skipped "): count
                    for kind, count in step.told.items()
                    if kind.startswith("skipped ")
                }
            ),
        )
    waits = [seconds for step in steps for status, seconds in step.answers if status == step.answer]
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(table)
    console.print(f"p50 of the answers: {1000 * statistics.median(waits):.1f} ms")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items()) or "-"
