"""The pages of ``docs/`` as programs."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["DOCS", "blocks", "blocks_of", "extract"]

DOCS = Path(__file__).parents[2] / "docs"
_TITLED = re.compile(
    r'^```python title="(?P<name>[\w.]+)"\n(?P<code>.*?)^```', re.MULTILINE | re.DOTALL
)


def extract(page: str, directory: Path) -> None:
    """Write the programs of a page, as they stand there, into a directory."""
    programs = _TITLED.findall((DOCS / page).read_text())
    assert programs, f"{page} has no program"
    for name, code in programs:
        (directory / name).write_text(code)


def blocks_of(page: str) -> list[str]:
    """The Python of a page that belongs to no program."""
    text = (DOCS / page).read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, int]]:
    """Each of these on every page, by page and number."""
    pages = sorted(page.name for page in DOCS.glob("*.md"))
    return [(page, number) for page in pages for number in range(len(blocks_of(page)))]
