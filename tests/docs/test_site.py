"""What the site is put together of: nothing is missing, and what is generated tells the truth."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Route
from typer.testing import CliRunner

import webhook_dedup
from tests.servers import wait_until
from webhook_dedup import WebhookDedup, errors, guards, testing
from webhook_dedup.cli.app import app
from webhook_dedup.observe import history
from webhook_dedup.providers import PRESETS
from webhook_dedup.providers.samples import sample_secret
from webhook_dedup.stores import open_store

from .pages import DOCS, ROOT, blocks_of
from .shell import check, commands_of

_GUARDS = [name for name in guards.__all__ if name not in {"Guard", "Guards", "Passage"}]
PUBLIC = {
    *(f"webhook_dedup.{name}" for name in webhook_dedup.__all__ if not hasattr(errors, name)),
    *(f"webhook_dedup.testing.{name}" for name in testing.__all__),
    "webhook_dedup.dashboard.Loopback",
    "webhook_dedup.dashboard.Tokens",
    "webhook_dedup.dashboard.dashboard",
    "webhook_dedup.errors",
    "webhook_dedup.fastapi.EventDep",
    "webhook_dedup.providers.Parsed",
    "webhook_dedup.observe.otel.OtelObserver",
    "webhook_dedup.observe.prometheus.PrometheusObserver",
    "webhook_dedup.stores.bloom.BloomStore",
    "webhook_dedup.stores.redis.RedisStore",
    "webhook_dedup.stores.sql.SqlStore",
    *(f"webhook_dedup.guards.{name}" for name in _GUARDS),
    *(f"webhook_dedup.observe.history.{name}" for name in history.__all__),
}


def _source(code):
    names = {}
    exec(code, names)
    return names["source"]


@contextmanager
def serving(sources):
    """A server for these sources, in a thread."""
    middleware = [Middleware(WebhookDedup, store="memory://", sources=sources)]
    routes = [Route("/webhooks/{name}", lambda request: Response(), methods=["POST"])]
    starlette = Starlette(routes=routes, middleware=middleware)
    server = uvicorn.Server(uvicorn.Config(starlette, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, what="uvicorn")
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages as they are given to the site's builder."""
    target = tmp_path_factory.mktemp("site")
    subprocess.run([sys.executable, DOCS / "generator", target], check=True)
    return target


def test_every_public_name_is_in_the_reference():
    """What can be imported from the front doors is told in the reference."""
    pages = "\n".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
    told = set(re.findall(r"^::: ([\w.]+)$", pages, re.MULTILINE))
    modules = {"webhook_dedup.once", "webhook_dedup.testing.hammer"}  # of the same names
    assert PUBLIC - told == modules
    assert {"webhook_dedup.once.once", "webhook_dedup.testing.hammer.hammer"} <= told


def test_every_page_is_in_the_navigation(site):
    """No page is left where only a search finds it."""
    pages = {str(page.relative_to(site / "pages")) for page in (site / "pages").rglob("*.md")}
    listed = re.findall(
        r"^ +- (?:[\w ]+: )?([\w/-]+\.md)$", (site / "mkdocs.yml").read_text(), re.MULTILINE
    )
    assert sorted(listed) == sorted(pages)


def test_each_provider_has_a_page(site):
    """A page for each row, with all that no first-hand source confirms."""
    for preset in PRESETS.values():
        page = site / "pages" / "providers" / f"{preset.name}.md"
        text = page.read_text()
        assert all(doubt in text for doubt in (*preset.unverified, *preset.notes))
        for block in blocks_of(page, page.name):
            for words in commands_of(block.content):
                check(words)


def test_each_provider_can_be_tried(site, monkeypatch):
    """What a page sends is accepted by what the page configures."""
    pages = [site / "pages" / "providers" / f"{name}.md" for name in sorted(PRESETS)]
    for name in PRESETS:
        secret = sample_secret(name).verifying if PRESETS[name].scheme else ""
        monkeypatch.setenv(f"{name.upper().replace('-', '_')}_SECRET", secret)
    blocks = [block for page in pages for block in blocks_of(page, page.name)]
    sources = [_source(block.content) for block in blocks if block.language == "python"]
    commands = [block.content for block in blocks if block.language == "console"]
    assert len(sources) == len(PRESETS)
    assert len(commands) >= 40
    with serving(sources) as port:
        for command in commands:
            [(_, *arguments)] = commands_of(os.path.expandvars(command).replace("8000", str(port)))
            sent = CliRunner().invoke(app, arguments)
            assert sent.exit_code == 0, sent.output


def test_providers_are_counted():
    """The pages that say how many providers are known say it right."""
    assert f"[{len(PRESETS)} are known]" in (DOCS / "sources.md").read_text()
    assert f"| {len(PRESETS)} |" in (DOCS / "comparison.md").read_text()


def test_urls_of_redis_are_taken():
    """Each URL in the table of Redis' shapes names a store."""
    urls = re.findall(r"`((?:redis|unix)[^`…]*://[^`…]+)`", (DOCS / "stores/redis.md").read_text())
    assert len(urls) >= 5
    for url in urls:
        assert open_store(url).name == "redis"


def test_each_command_has_its_section(site):
    """The reference of commands has a section for each of them."""
    text = (site / "pages" / "reference" / "commands.md").read_text()
    for command in ("demo", "doctor", "inbox replay", "send", "stores forget", "tail", "why"):
        assert f"# `webhook-dedup {command}`" in text


def test_readme_links_to_what_is_there():
    """No link of the README leads nowhere."""
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text())
    assert targets
    assert not [target for target in targets if not (ROOT / target).exists()]
