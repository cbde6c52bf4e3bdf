"""`webhook-dedup send` against a real server with the middleware."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.asgi.kit import until
from tests.cli.operating import command
from tests.ports import HOST, reserve_port
from webhook_dedup import Source, WebhookDedup, event_of
from webhook_dedup.providers.samples import sample_secret

SLACK = "a signing secret"
SENDGRID = sample_secret("sendgrid")
TWILIO = "an auth token"


class App:
    """A server that keeps what ran and what arrived."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.items: list[int] = []
        self.connections: set[object] = set()
        self.headers: list[dict[str, str]] = []
        self.url = ""

    async def handle(self, request: Request) -> Response:
        event = event_of(request)
        self.ran.append(event.id)
        self.items.append(len(event.items))
        return Response("handled")

    def note(self, app):
        async def noting(scope, receive, send):
            if scope["type"] == "http":
                self.connections.add(scope["client"])
                self.headers.append({k.decode(): v.decode() for k, v in scope["headers"]})
            await app(scope, receive, send)

        return noting

    def asgi(self):
        sources = [
            Source("slack", path="/slack", secret=SLACK),
            Source("sendgrid", path="/sendgrid", secret=SENDGRID.verifying),
            Source("twilio", path="/twilio", secret=TWILIO, public_url="https://example.com"),
            Source("mailchimp", path="/mailchimp", secret="in the URL"),
            Source("generic", path="/open", event_id="header:X-Id"),
        ]
        routes = [Route(source.path, self.handle, methods=["POST"]) for source in sources]
        dedup = Middleware(WebhookDedup, store="memory://", sources=sources)
        return self.note(Starlette(routes=routes, middleware=[dedup]))


@pytest.fixture
async def app():
    served = App()
    async with _serving(served):
        yield served


@asynccontextmanager
async def _serving(served):
    config = uvicorn.Config(served.asgi(), host=HOST, port=0, log_level="critical")
    server = uvicorn.Server(config)
    running = asyncio.ensure_future(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers no event for it
        await asyncio.sleep(0.01)
    served.url = f"http://{HOST}:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield
    finally:
        server.should_exit = True
        await running


async def send(app, path, provider, *more):
    return await command("send", app.url + path, "--provider", provider, *more)


async def test_one_event_many_times(app):
    """All copies are accepted, each over its connection, and the event runs once."""
    done = await send(
        app, "/slack", "slack", "--secret", SLACK, "--times", "5", "--connections", "5"
    )
    assert done.exit_code == 0, done.output
    assert "0 not accepted" in done.stdout
    await until(lambda: len(app.ran) == 1)
    assert len(app.connections) == 5
    assert len(app.headers) == 5


async def test_copies_share_connections(app):
    """More copies than connections go one after the other over each."""
    done = await send(
        app, "/slack", "slack", "--secret", SLACK, "--times", "7", "--connections", "2", "--json"
    )
    (copies,) = json.loads(done.stdout)["rounds"]
    assert (copies["sent"], copies["failed"], len(app.connections)) == (7, 0, 2)
    assert [answer["count"] for answer in copies["answers"]] == [7]
    assert 0 < copies["p50_ms"] <= copies["max_ms"]


async def test_the_same_event_again(app):
    """--event repeats an event of an earlier run, which runs no more; without it each is new."""
    for event in (["--event", "Ev1"], ["--event", "Ev1"], [], []):
        assert (await send(app, "/slack", "slack", "--secret", SLACK, *event)).exit_code == 0
    await until(lambda: len(app.ran) == 3)


async def test_a_redelivery(app):
    """--redeliver sends it once more as the provider does: marked as a retry, and not run."""
    done = await send(app, "/slack", "slack", "--secret", SLACK, "--redeliver", "--json")
    rounds = json.loads(done.stdout)["rounds"]
    assert [each["label"] for each in rounds] == ["copies at once", "redelivery"]
    assert "x-slack-retry-num" not in app.headers[0]
    assert app.headers[1]["x-slack-retry-num"] == "1"
    assert app.headers[0]["x-slack-signature"] != app.headers[1]["x-slack-signature"]
    await until(lambda: len(app.ran) == 1)


async def test_a_batch(app):
    """Several events go in one delivery where the provider sends batches."""
    done = await send(
        app, "/sendgrid", "sendgrid", "--secret", SENDGRID.signing, "--event", "1", "--event", "2"
    )
    assert done.exit_code == 0, done.output
    await until(lambda: app.items == [2])
    assert "--event 1 --event 2" in done.stdout


async def test_the_url_that_was_signed(app):
    """Behind a proxy the app is configured with another URL, which is then the one to sign."""
    wrong = await send(app, "/twilio", "twilio", "--secret", TWILIO)
    assert (wrong.exit_code, app.ran) == (1, [])
    right = await send(
        app, "/twilio", "twilio", "--secret", TWILIO, "--signed-url", "https://example.com/twilio"
    )
    assert right.exit_code == 0, right.output


async def test_a_token_in_the_url(app):
    """Where the URL holds the token, it is sent there."""
    done = await send(app, "/mailchimp", "mailchimp", "--secret", "in the URL")
    assert done.exit_code == 0, done.output
    await until(lambda: len(app.ran) == 1)


async def test_a_body_and_headers_of_ones_own(app, tmp_path):
    """A body from a file and more headers take the place of the sample's."""
    body = tmp_path / "body.json"
    body.write_bytes(b'{"mine":  1}')
    done = await send(
        app, "/open", "generic", "--unsigned", "--body", str(body), "--header", "X-Id: mine"
    )
    assert done.exit_code == 0, done.output
    await until(lambda: app.ran == ["mine"])
    assert app.headers[0]["content-length"] == "12"


async def test_what_is_refused(app):
    """A refusal is shown with its body, and the command says that it failed."""
    done = await send(app, "/slack", "slack", "--secret", "another", "--times", "3", "--json")
    assert done.exit_code == 1
    (copies,) = json.loads(done.stdout)["rounds"]
    (answer,) = copies["answers"]
    assert (answer["status"], answer["count"], copies["failed"]) == ("401", 3, 3)
    assert "signature_mismatch" in answer["body"]
    assert (await send(app, "/slack", "slack", "--unsigned")).exit_code == 1


async def test_nobody_there():
    """A server that is not there is an answer, too, and a failure."""
    url = f"http://{HOST}:{reserve_port()}/"
    done = await command("send", url, "--provider", "stripe", "--secret", "s", "--times", "2")
    assert done.exit_code == 1
    assert "ConnectError" in done.stdout
    assert "2 not accepted" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["http://localhost", "--provider", "stripe"], "--secret"),
        (["http://localhost", "--provider", "strip", "--secret", "s"], "did you mean 'stripe'"),
        (["http://localhost", "--provider", "svix", "--secret", "plain"], "whsec_"),
        (["localhost", "--provider", "stripe", "--secret", "s"], "http://"),
        (["ftp://localhost", "--provider", "stripe", "--secret", "s"], "http://"),
        (["http://localhost:x", "--provider", "stripe", "--secret", "s"], "URL"),
        (["http://localhost:99999", "--provider", "stripe", "--secret", "s"], "Port out of range"),
        (["http://[::1/", "--provider", "stripe", "--secret", "s"], "is no URL"),
        (["http://localhost", "--provider", "stripe", "--unsigned", "--header", "x: é"], "ASCII"),
        (["http://localhost", "--provider", "stripe", "--secret", "s", "--header", "x"], "Name: "),
        (["http://localhost", "--provider", "stripe", "--secret", "s", "--body", "no"], "no"),
        (
            ["http://localhost", "--provider", "stripe", "--secret=s", "--event=1", "--event=2"],
            "by itself",
        ),
        (["http://localhost", "--provider", "stripe", "--secret", "s", "--times", "0"], "times"),
    ],
)
async def test_wrong_usage(arguments, says):
    """What cannot be sent is wrong usage, told in a sentence."""
    done = await command("send", *arguments)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
