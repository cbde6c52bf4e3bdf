"""The test kit tells a naive handler from one that runs once, in process and over HTTP."""

import asyncio
import json
import threading
from contextlib import asynccontextmanager
from unittest.mock import Mock, call

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.asgi.kit import until
from webhook_dedup import ConfigError, Source, WebhookDedup
from webhook_dedup.providers.samples import SAMPLES, sample_delivery, sample_secret
from webhook_dedup.stores import MemoryStore
from webhook_dedup.testing import Answers, assert_ran_once, hammer

SECRET = sample_secret("github").signing


@pytest.fixture
def delivery():
    return sample_delivery("github", secret=SECRET, event="1")


def an_app(runs, *, deduplicated, lifespan=None):
    """An app that notes the id of each event it handles."""

    async def handle(request):
        event_id = request.headers["x-github-delivery"]
        await asyncio.sleep(0.01)
        runs.append(event_id)
        return JSONResponse({"handled": event_id})

    source = Source("github", path="/webhooks/github", secret=SECRET)
    dedup = Middleware(WebhookDedup, store=MemoryStore(), sources=[source])
    return Starlette(
        routes=[Route("/webhooks/github", handle, methods=["POST"])],
        middleware=[dedup] if deduplicated else [],
        lifespan=lifespan,
    )


@asynccontextmanager
async def served(app):
    """The app behind a real server on loopback."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:  # noqa: ASYNC110 - uvicorn offers no event for it
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await asyncio.to_thread(thread.join)


@pytest.fixture(params=["in process", "over HTTP"])
def reached(request):
    """How an app is reached: as it is, or behind a server."""

    @asynccontextmanager
    async def as_it_is(app):
        yield app

    return as_it_is if request.param == "in process" else served


async def test_a_naive_handler_is_caught(reached, delivery):
    """Every copy runs, and the assertion says how often."""
    runs = []
    async with reached(an_app(runs, deduplicated=False)) as app:
        answers = await hammer(app, delivery, times=5)
    assert answers.statuses == {200: 5}
    with pytest.raises(AssertionError, match="ran 5 times"):
        assert_ran_once(runs)


async def test_a_deduplicated_handler_passes(reached, delivery):
    """One copy runs, and all are accepted."""
    runs = []
    async with reached(an_app(runs, deduplicated=True)) as app:
        answers = await hammer(app, delivery, times=20, connections=10)
        again = await hammer(app, delivery, times=3)
    assert answers.all_accepted
    assert again.all_accepted
    assert_ran_once(runs, [delivery.headers["X-GitHub-Delivery"]])


async def test_answers(reached):
    """A refusal is told with its status and its body, however the app is reached."""
    forged = sample_delivery("github", secret=sample_secret("github").signing)
    runs = []
    async with reached(an_app(runs, deduplicated=True)) as app:
        answers = await hammer(app, forged, times=2)
    assert answers.statuses == {401: 2}
    assert not answers.all_accepted
    assert json.loads(answers[0].body)
    assert answers[0].headers["content-type"].startswith("application/")
    assert answers[0].seconds > 0
    assert runs == []


async def test_connections_bound_what_is_under_way(reached, delivery):
    """No more copies are under way at a time than there are connections."""
    inside, most = 0, 0

    async def app(scope, receive, send):
        nonlocal inside, most
        if scope["type"] == "lifespan":
            return await live(receive, send)
        inside += 1
        most = max(most, inside)
        await until(lambda: most >= 3)
        await asyncio.sleep(0.01)
        inside -= 1
        return await JSONResponse({})(scope, receive, send)

    async with reached(app) as target:
        await hammer(target, delivery, times=9, connections=3)
    assert most == 3


async def live(receive, send):
    for word in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{word}.complete"})


async def test_an_app_that_raises(delivery):
    """What an app raises is a 500, as a server would answer, and is told."""

    async def app(scope, receive, send):
        raise ValueError(scope["type"])

    (answer,) = await hammer(app, delivery, times=1)
    assert (answer.status, answer.error) == (500, "ValueError('http')")


async def test_an_app_that_says_nothing(delivery):
    """An app that returns without a response is a 500, too."""

    async def app(scope, receive, send):
        """Do nothing."""

    (answer,) = await hammer(app, delivery, times=1, lifespan=False)
    assert (answer.status, answer.error) == (500, "the app returned without a response")


async def test_the_lifespan_runs_around(delivery):
    """The state of the lifespan reaches the handler; a start-up that fails fails the test."""

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            scope["state"]["made"] = "here"
            return await live(receive, send)
        return await JSONResponse(scope["state"])(scope, receive, send)

    (answer,) = await hammer(app, delivery, times=1)
    assert json.loads(answer.body) == {"made": "here"}

    async def broken(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(RuntimeError, match="no database"):
        await hammer(broken, delivery)


@pytest.mark.parametrize("provider", sorted(SAMPLES))
async def test_every_provider(provider):
    """The sample of every provider passes for its own, signed, and runs once."""
    secret = sample_secret(provider)
    runs = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            return await live(receive, send)
        runs.append(provider)
        return await JSONResponse({})(scope, receive, send)

    url = "https://hooks.example.com/in"
    source = Source(
        provider,
        path="/in",
        secret=secret.verifying,
        public_url="https://hooks.example.com",
        event_id="id" if provider == "generic" else None,
    )
    deduplicated = WebhookDedup(app, store="memory://", sources=[source])
    delivery = sample_delivery(provider, secret=secret.signing, url=url)
    answers = await hammer(deduplicated, delivery, times=3)
    assert_ran_once(runs)
    assert any(answer.accepted for answer in answers)


@pytest.mark.parametrize("numbers", [(0, 1), (1, 0)])
async def test_refused(numbers, delivery):
    """Nothing sent is no test."""
    with pytest.raises(ConfigError, match="1 or more"):
        await hammer("http://127.0.0.1", delivery, *numbers)


@pytest.mark.parametrize(
    ("runs", "expected", "says"),
    [
        (["a", "b", "a"], None, "'a' ran 2 times"),
        ([], None, "did not run at all"),
        (["a"], ["a", "b"], "'b' did not run"),
        (["a", "c"], ["a"], "'c' ran and was not expected"),
        ([{"id": 1}, {"id": 1}], None, "ran 2 times"),
    ],
)
def test_assert_ran_once(runs, expected, says):
    """What ran too often, not at all, or by mistake is named."""
    with pytest.raises(AssertionError, match=says):
        assert_ran_once(runs, expected)


def test_assert_ran_once_passes():
    """Each once is enough, in any order, for notes and for mocks."""
    assert_ran_once(["a", "b"], ["b", "a"])
    assert_ran_once([], [])
    mock = Mock()
    mock({"id": 1})
    assert_ran_once(mock.call_args_list, [call({"id": 1})])


def test_answers_are_a_tuple():
    """No answers are all accepted."""
    assert Answers() == ()
    assert Answers().all_accepted
