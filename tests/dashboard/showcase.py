"""An app with a dashboard and something to see on it, for browsers and for people.

``python -m tests.dashboard.showcase`` serves it on port 8000.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from webhook_dedup import Dedup, Policy, Retries, Source, WebhookDedup, event_of
from webhook_dedup.contracts import Sought
from webhook_dedup.dashboard import Tokens, dashboard
from webhook_dedup.guards import SelfSent
from webhook_dedup.observe.history import History
from webhook_dedup.providers import sign
from webhook_dedup.stores import open_store

ADMIN = "an-admin-of-the-showcase"
VIEWER = "a-viewer-of-the-showcase"
SECRET = "whsec_a_secret_of_the_showcase"
HOSTILE_ID = (
    '"><script>alert(1)</script><img src=x onerror=alert(2)>\u202eevil\u0007\u001b[31m{{7*7}}'
)
HOSTILE = {
    "X-Note": '"><svg onload=alert(3)> javascript:alert(4)',
    "X-Style": "</style><style>*{display:none}</style>",
}


class Shop:
    """The app behind the webhooks. Its handlers fail while ``broken``."""

    def __init__(self) -> None:
        self.broken = True
        self.ran: list[str] = []

    async def handle(self, request):
        event = event_of(request)
        self.ran.append(event.id)
        await asyncio.sleep(0.02)
        body = await request.body()
        if b"fails" in body and self.broken:
            raise TimeoutError("the payment service did not answer in 5 s")
        if b"refused" in body and self.broken:
            return JSONResponse({"error": "no such customer"}, 422)
        return JSONResponse({"handled": event.id})


class Showcase:
    """The app, its parts, and a way to send it deliveries."""

    def __init__(self, url: str) -> None:
        self.shop = Shop()
        self.store = open_store(url)
        self.history = History(self.store, every=0.2)
        self.dedup = Dedup(
            self.store,
            sources=[
                Source("stripe", path="/webhooks/stripe", secret=SECRET),
                Source("github", path="/webhooks/github", secret=SECRET),
                Source(
                    "generic",
                    name="billing",
                    path="/hooks/{tenant}",
                    event_id="id",
                    event_type="type",
                    secret=SECRET,
                    guards=[SelfSent("from", addresses=["bot@example.com"])],
                ),
                Source(
                    "linear",
                    path="/webhooks/linear",
                    secret=SECRET,
                    policy=Policy(ttl=3600),
                ),
            ],
            observers=[self.history],
            policy=Policy(retries=Retries(attempts=2, initial=0.05, jitter=0)),
        )
        tokens = Tokens(admin=ADMIN, viewer=VIEWER)
        routes = [
            Route(f"/{path}", self.shop.handle, methods=["POST"])
            for path in ("webhooks/{name}", "hooks/{tenant}")
        ]
        self.pages = dashboard(self.dedup, auth=tokens)
        mounted = Starlette(routes=[*routes, Mount("/webhook-dedup", self.pages)])
        self.app = WebhookDedup(mounted, dedup=self.dedup)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        await self.store.aclose()

    async def send(self, client: httpx.AsyncClient, source: str, content: dict, **more) -> int:
        """Send one signed delivery; return the status."""
        body = json.dumps(content).encode()
        preset = "generic" if source not in {"stripe", "github", "linear"} else source
        path = f"/hooks/{source}" if preset == "generic" else f"/webhooks/{source}"
        headers = {**sign(preset, secret=SECRET, body=body), **more.pop("headers", {})}
        response = await client.post(path, content=body, headers=headers)
        return response.status_code

    async def fill(self, client: httpx.AsyncClient, *, hostile: bool = True) -> None:
        """Send what makes the pages worth looking at."""
        await self.send(client, "acme", {"id": "inv_77", "type": "invoice.fails", "n": "fails"})
        await self.send(client, "acme", {"id": "inv_78", "type": "invoice.paid", "n": "refused"})
        await self.send(client, "acme", {"id": "inv_79", "type": "note", "from": "bot@example.com"})
        if hostile:
            await self.send_hostile(client)
        await client.post("/webhooks/stripe", content=b"{}", headers={"Stripe-Signature": "no"})
        for number in range(1, 9):
            charge = {"id": f"evt_1NG8Du2eZvKYlo2C{number:02}", "type": "charge.succeeded"}
            for _ in range(1 + number % 3):
                await self.send(client, "stripe", charge)
        for number in range(1, 5):
            push = {"X-GitHub-Delivery": f"1027a757-32b8-4458-abb8-{number:012}"}
            push["X-GitHub-Event"] = "push"
            for _ in range(number % 2 + 1):
                await self.send(client, "github", {"ref": "refs/heads/main"}, headers=push)
        while await self.dedup.inbox.count(Sought(state="waiting")):  # noqa: ASYNC110 - unannounced
            await asyncio.sleep(0.05)
        await self.history.flush()

    async def send_hostile(self, client: httpx.AsyncClient) -> None:
        """Send what no sender should; it ends as a dead letter."""
        content = {"id": HOSTILE_ID, "type": "<b>bold</b>", "n": f"refused {HOSTILE_ID}\u0000"}
        await self.send(client, "acme", content, headers=HOSTILE)


@asynccontextmanager
async def serving(app, port: int = 0):
    """Serve an app on loopback; yield where."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="on"))
    task = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
        assert not task.done()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await task


async def _main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with (
            Showcase(f"sqlite:///{Path(folder, 'showcase.db')}") as showcase,
            serving(showcase.app, 8000) as url,
            httpx.AsyncClient(base_url=url) as client,
        ):
            await showcase.fill(client)
            print(f"{url}/webhook-dedup/ with the token {ADMIN} or {VIEWER}")  # noqa: T201 - for who runs it
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
