"""An app whose deliveries are shown, and a browser without a screen."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack

import httpx
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.asgi.kit import Handler, Records, deliver, living, policy, signed, source
from webhook_dedup import Dedup, Retries, WebhookDedup
from webhook_dedup.dashboard import Tokens, dashboard
from webhook_dedup.observe.history import History
from webhook_dedup.stores import open_store

ADMIN = "an-admin-token-of-tests"
VIEWER = "a-viewer-token-of-tests"
HOME = "http://127.0.0.1:8000"
MOUNT = "/webhook-dedup"
CSRF = re.compile(r'name="csrf" value="([0-9a-f]{64})"')
SLOW = Retries(attempts=2, initial=3600, jitter=0)


class Desk:
    """An app with its dashboard mounted, living for a ``with``.

    Args:
        url: Its store.
        statuses: What its handler answers, or raises.
        history: Whether it keeps one.
        auth: Of the dashboard.
        bodies: Whether the history keeps them.
        more: Of the source.
    """

    def __init__(self, url, *statuses, history=True, auth=None, bodies=False, dedup=None, **more):
        self.handler = Handler(*statuses)
        self.records = Records()
        self.store = open_store(url)
        self.history = History(self.store, every=0.01, bodies=bodies) if history else None
        self.dedup = Dedup(
            self.store,
            sources=[source(**more)],
            observers=[each for each in (self.records, self.history) if each],
            policy=policy(retries=SLOW),
            **(dedup or {}),
        )
        auth = auth or Tokens(admin=ADMIN, viewer=VIEWER)
        self.pages = dashboard(self.dedup, auth=auth)
        inner = Starlette(routes=[Mount(MOUNT, self.pages), Mount("/", self.handler)])
        self.app = WebhookDedup(inner, dedup=self.dedup)
        self._stack = AsyncExitStack()

    async def __aenter__(self):
        await self._stack.enter_async_context(living(WebhookDedup(self.handler, dedup=self.dedup)))
        self.app = WebhookDedup(self.app.app, dedup=self.dedup)
        return self

    async def __aexit__(self, *exc):
        await self._stack.aclose()
        await self.store.aclose()

    async def deliver(self, event_id="evt_1", **more):
        """Send a delivery; what was recorded of it can be read when this returns."""
        body = more.pop("body", None) or f'{{"id": "{event_id}"}}'.encode()
        headers = {**signed(body), **more.pop("headers", {})}
        reply = await deliver(self.app, body, headers=headers, **more)
        if self.history:
            assert await self.history.flush()
        return reply

    def browser(self, token=None, **options):
        """A client with cookies; with a token it bears that."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return client_of(self.app, headers={**headers, **options.pop("headers", {})}, **options)

    async def signed_in(self, token=ADMIN, **options):
        """A client that signed in by the form."""
        browser = self.browser(**options)
        page = await browser.get("sign-in")
        form = {"csrf": csrf_of(page), "token": token}
        assert (await browser.post("sign-in", data=form)).status_code == 303
        return browser


def client_of(app, base=f"{HOME}{MOUNT}/", client=("127.0.0.1", 5000), **options):
    transport = httpx.ASGITransport(app, client=client)
    return httpx.AsyncClient(transport=transport, base_url=base, **options)


def csrf_of(page):
    return CSRF.search(page.text)[1]


def text_of(page):
    """What people read on a page."""
    text = re.sub(r"<[^>]*>", " ", page.text.partition("<main")[2])
    return re.sub(r"\s+", " ", text)
