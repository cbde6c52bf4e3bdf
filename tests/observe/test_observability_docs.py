"""The history is asked as the documentation shows it."""

import asyncio
import re
from pathlib import Path

import pytest

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
