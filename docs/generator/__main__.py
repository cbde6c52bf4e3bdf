"""Put the pages of the site together: those written by hand, and those the library tells itself.

``python docs/generator build/docs`` leaves ``mkdocs.yml`` and ``pages/`` there, to be built.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from command_pages import command_page
from provider_pages import provider_pages

ROOT = Path(__file__).parents[2]
RESULTS = Path("benchmarks", "results")
WRITTEN = ("*.md", "*.png", "*.css")
LIST_OF_PROVIDERS = "          - providers/index.md\n"


def assemble(target: Path) -> None:
    """Write everything that the site is built of into an empty directory."""
    shutil.rmtree(target, ignore_errors=True)
    pages = target / "pages"
    _copy(ROOT / "docs", pages)
    _copy(ROOT / RESULTS, pages / RESULTS)
    names = []
    for name, text in provider_pages():
        names.append(name)
        _write(pages / "providers" / f"{name}.md", text.encode())
    _write(pages / "reference" / "commands.md", command_page().encode())
    _write(pages / "changelog.md", (ROOT / "CHANGELOG.md").read_bytes())
    _write(target / "mkdocs.yml", _configuration(names).encode())


def _configuration(providers: list[str]) -> str:
    """Return the configuration with a line in the navigation for each provider."""
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    if LIST_OF_PROVIDERS not in text:
        raise SystemExit(f"mkdocs.yml has no line {LIST_OF_PROVIDERS!r}")
    lines = "".join(f"          - providers/{name}.md\n" for name in providers if name != "index")
    return text.replace(LIST_OF_PROVIDERS, LIST_OF_PROVIDERS + lines)


def _copy(source: Path, target: Path) -> None:
    for pattern in WRITTEN:
        for path in source.rglob(pattern):
            content = path.read_bytes()
            if path.suffix == ".md":  # the results lie beside the pages here, and not above them
                content = content.replace(b"](../benchmarks/", b"](benchmarks/")
            _write(target / path.relative_to(source), content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


if __name__ == "__main__":
    assemble(Path(sys.argv[1]))
