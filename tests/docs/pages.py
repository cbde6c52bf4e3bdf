"""The pages of ``docs/`` and the README, taken apart into their blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BLOCKS", "DOCS", "PAGES", "ROOT", "Block", "blocks_of", "extract", "named"]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_FENCE = re.compile(
    r'^(?P<indent> *)```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?\n'
    r"(?P<content>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: Path of its page in the repository.
        line: Where it begins.
        language: What stands behind the fence.
        title: Its title, which is the name of a file or of a terminal; empty without.
        content: What stands in it.
    """

    page: str
    line: int
    language: str
    title: str
    content: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path, name: str) -> list[Block]:
    """Return the blocks of a page in their order."""
    text = page.read_text("utf-8")
    return [
        Block(
            page=name,
            line=text.count("\n", 0, fence.start()) + 1,
            language=fence["language"],
            title=fence["title"] or "",
            content=re.sub(f"^{fence['indent']}", "", fence["content"], flags=re.MULTILINE),
        )
        for fence in _FENCE.finditer(text)
    ]


PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
BLOCKS = [block for page in PAGES for block in blocks_of(page, str(page.relative_to(ROOT)))]


def named(language: str, *, titled: bool | None = None) -> list[Block]:
    """Return the blocks in a language, with or without titles."""
    return [
        block
        for block in BLOCKS
        if block.language == language and titled in (None, bool(block.title))
    ]


def extract(page: str, directory: Path) -> None:
    """Write the programs of a page of ``docs/``, as they stand there, into a directory."""
    programs = [block for block in named("python", titled=True) if block.page == f"docs/{page}"]
    assert programs, f"{page} has no program"
    for block in programs:
        (directory / block.title).write_text(block.content)
