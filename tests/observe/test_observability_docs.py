"""The history is asked as the documentation shows it."""

import asyncio
import logging
import re
from pathlib import Path

import pytest

from webhook_dedup.observe.log import LogObserver
from webhook_dedup.observe.record import Kind, Record

DOCS = Path(__file__).parents[2] / "docs" / "observability.md"


async def test_history(tmp_path, monkeypatch):
    """A history is made, asked, and followed without end."""
    monkeypatch.chdir(tmp_path)
    section = DOCS.read_text().partition("## Why did nothing happen?\n")[2].partition("\n## ")[0]
    names = {}
    for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        exec(block, names)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(names["ask"](names["history"]), 0.5)
    await names["history"].aclose()


def test_levels(caplog):
    """Each kind of record is logged at the level that the table has for it."""
    rows = re.findall(r"^\| ([A-Z]+) \| (`.+`) \|$", DOCS.read_text(), re.MULTILINE)
    told = {kind: level for level, kinds in rows for kind in re.findall(r"`(\w+)`", kinds)}
    caplog.set_level(logging.DEBUG, "webhook_dedup")
    for kind in Kind:
        LogObserver().record(Record(kind, "shop"))
    logged = {line.webhook_dedup["kind"]: line.levelname for line in caplog.records}
    assert logged == told
