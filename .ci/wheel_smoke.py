"""Try the installed wheel where nothing but its own dependencies is installed."""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
from importlib.metadata import distributions
from importlib.resources import files

import webhook_dedup
from webhook_dedup.errors import MissingExtra
from webhook_dedup.model import Bid, Outcome, Settlement
from webhook_dedup.stores import open_store

ALONE = {"webhook_dedup", "jmespath", "msgspec", "python_multipart", "pip", "setuptools"}


def check(holds: bool, what: str) -> None:
    print("ok  " if holds else "FAIL", what)
    if not holds:
        sys.exit(1)


async def round_trip() -> tuple[Outcome, Outcome]:
    store = open_store("memory://")
    [first] = await store.claim([Bid("key", "token-1", 30.0)])
    await store.complete([Settlement(first, 60.0)])
    [second] = await store.claim([Bid("key", "token-2", 30.0)])
    await store.aclose()
    return first.outcome, second.outcome


def offered_extras(url: str) -> list[str]:
    """The extras in the ``pip install`` line that a URL's missing packages lead to."""
    try:
        open_store(url)
    except MissingExtra as error:
        line = re.search(r"pip install 'webhook_dedup\[([a-z,]+)\]'", str(error))
        return line[1].split(",") if line else []
    return []


PAGES = [f"templates/{name}.html" for name in ("base", "live", "delivery", "_entry", "_parts")]
ASSETS = [f"static/{name}" for name in ("dashboard.css", "dashboard.js", "icon.svg")]


def offered_extra(module: str) -> str:
    """The extra that a module asks for when what it needs is not installed."""
    try:
        importlib.import_module(module)
    except MissingExtra as error:
        return error.extra
    return ""


def main() -> None:
    installed = {each.metadata["Name"].replace("-", "_").lower() for each in distributions()}
    check(installed <= ALONE, f"nothing else is installed: {sorted(installed)}")
    check(bool(webhook_dedup.__version__), f"webhook_dedup {webhook_dedup.__version__} imports")
    answers = asyncio.run(round_trip())
    check(answers == (Outcome.FRESH, Outcome.DUPLICATE), "the memory store tells a duplicate")
    for url, extra in {
        "redis://localhost": "redis",
        "sqlite:///hooks.db": "sqlite",
        "postgresql://localhost/hooks": "postgres",
        "bloom://": "bloom",
    }.items():
        check(extra in offered_extras(url), f"{url} names its extra")

    dashboard = files("webhook_dedup") / "dashboard"
    for name in (*PAGES, *ASSETS):
        check((dashboard / name).is_file(), f"the dashboard's {name} is in the wheel")
    extra = offered_extra("webhook_dedup.dashboard")
    check(extra == "dashboard", "the dashboard names its extra")


if __name__ == "__main__":
    main()
