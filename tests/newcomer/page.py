"""A tutorial as parts: files to write, and what is typed into terminals and seen there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["INTERRUPT", "Command", "File", "Part", "Session", "Step", "parts_of"]

_BLOCK = re.compile(
    r'^```(?P<language>\w+) title="(?P<title>[^"]+)"\n(?P<content>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
INTERRUPT = "^C"


@dataclass(frozen=True)
class File:
    """What the reader is to save."""

    name: str
    content: str


@dataclass(frozen=True)
class Command:
    """What the reader types, and the lines that follow on the page.

    What comes without a command, such as the log of a server that runs, has an empty ``text``.
    """

    text: str
    expected: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Session:
    """What happens in one terminal."""

    terminal: str
    commands: list[Command]


Step = File | Session


@dataclass(frozen=True)
class Part:
    """What stands below one heading."""

    heading: str
    steps: list[Step]


def parts_of(page: str) -> list[Part]:
    """Return the parts that have steps. Blocks without a title are not for the newcomer."""
    sections = [section.partition("\n") for section in page.split("\n## ")[1:]]
    parts = [Part(heading, list(_steps(content))) for heading, _, content in sections]
    return [part for part in parts if part.steps]


def _steps(section: str) -> Iterator[Step]:
    for block in _BLOCK.finditer(section):
        if block["language"] == "console":
            yield Session(block["title"], _commands(block["content"]))
        else:
            yield File(block["title"], block["content"])


def _commands(content: str) -> list[Command]:
    commands = [Command("")]
    for line in content.splitlines():
        if line.startswith("$ "):
            commands.append(Command(line[2:]))
        elif line == INTERRUPT:
            commands.append(Command(INTERRUPT))
        else:
            commands[-1].expected.append(line)
    return [command for command in commands if command.text or command.expected]
