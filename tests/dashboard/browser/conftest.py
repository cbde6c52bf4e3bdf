"""A served app with something to see, and a browser to see it with."""

from __future__ import annotations

import httpx
import pytest

from tests.dashboard.showcase import Showcase, serving

from .watch import Watch


@pytest.fixture
async def showcase(tmp_path):
    """The app, served on loopback, and some deliveries in it."""
    async with (
        Showcase(f"sqlite:///{tmp_path}/showcase.db") as shown,
        serving(shown.app) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        shown.url, shown.client = f"{url}/webhook-dedup/", client
        await shown.fill(client)
        yield shown


@pytest.fixture
async def browser():
    """Chromium."""
    from .chromium import running  # here, since every run of the tests reads this file

    async with running() as browser:
        yield browser


@pytest.fixture
async def page(browser, showcase):
    """A page that is signed in, and watched: nothing may go wrong on it."""
    context = await browser.new_context()
    page = await context.new_page()
    watch = Watch(page, showcase.url)
    await watch.begin()
    await watch.sign_in()
    yield page
    watch.check()
    await context.close()
