"""The app of the tutorial on every store it names; ``make newcomer`` follows its steps."""

from __future__ import annotations

import asyncio
import importlib.util
import sys

from tests.asgi.kit import deliver, living
from tests.every_store import a_redis, lasting_url
from webhook_dedup.providers.samples import sample_delivery

from .pages import extract

__all__ = ["a_redis", "lasting_url"]

SECRET = "whsec_tutorial"


async def test_app_charges_once(lasting_url, tmp_path, monkeypatch, capsys):
    """Three copies at once are charged for once, wherever the claims live."""
    monkeypatch.setenv("STORE", lasting_url)
    extract("tutorial.md", tmp_path)
    spec = importlib.util.spec_from_file_location("tutorial_app", tmp_path / "app.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    sent = sample_delivery("stripe", secret=SECRET, url="/webhooks/stripe")
    async with living(module.app):
        copies = [
            deliver(module.app, sent.body, headers=sent.headers, path="/webhooks/stripe")
            for _ in range(3)
        ]
        assert {reply.status for reply in await asyncio.gather(*copies)} == {200}
    assert capsys.readouterr().out.count("charged for") == 1
