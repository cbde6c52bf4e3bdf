"""The reference of the command line, as Typer writes it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

__all__ = ["command_page"]

_TYPER = (sys.executable, "-m", "typer", "webhook_dedup.cli.app", "utils", "docs")
_NAME = "webhook-dedup"
_INTRODUCTION = """# Commands

`pip install 'webhook_dedup[cli]'` brings the command `webhook-dedup`, which completes in the shell
after `webhook-dedup --install-completion`. Commands that look into a store take its URL from
`--store` or from `WEBHOOK_DEDUP_STORE`, and that of the store beside which the inbox lies, if it
is another, from `--inbox` or `WEBHOOK_DEDUP_INBOX`; they make no tables and no files. Exit codes:
0 done, 1 nothing found or refused, 2 wrong usage.
"""
# Typer cuts what it says of a command in its list; each is described in full below.
_LISTED = re.compile(r"^\* `(?P<name>[a-z][a-z-]*)`: .*$")
_HEADING = re.compile(rf"^(?P<level>##+) `{_NAME} (?P<path>[a-z -]+)`$")
_DOUBLE = re.compile(r"(?<!`)``(?!`)")


def command_page() -> str:
    """Return the page as Markdown."""
    made = subprocess.run(  # noqa: S603 - the words above
        [*_TYPER, "--name", _NAME], check=True, capture_output=True, text=True, encoding="utf-8"
    )
    _, _, body = made.stdout.partition("\n")
    return _INTRODUCTION + "\n".join(_linked(body)) + "\n"


def _linked(body: str) -> Iterator[str]:
    """Yield the lines with the lists of commands as links, and without what every command has."""
    section = ""
    for line in body.splitlines():
        if heading := _HEADING.match(line):
            section = f"{heading['path'].replace(' ', '-')}-"
        if not line.startswith("* `--help`"):
            link = rf"* [`\g<name>`](#{_NAME}-{section}\g<name>)"
            yield _DOUBLE.sub("`", _LISTED.sub(link, line))
