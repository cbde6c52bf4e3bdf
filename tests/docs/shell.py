"""The commands of the docs, checked without running them: they exist, and take these options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from importlib.metadata import metadata
from typing import Any

import typer
import uvicorn

from webhook_dedup.cli.app import app

from .pages import ROOT

__all__ = ["check", "commands_of"]

_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")
_REQUIREMENT = re.compile(r"webhook_dedup\[(?P<extras>[a-z,]+)\]")
_LEFT_OUT = {"MissingParameter", "NoArgsIsHelpError"}
_TARGET = re.compile(r"^(?P<name>[a-z-]+):", re.MULTILINE)


def commands_of(content: str) -> Iterator[list[str]]:
    """Yield the words of each command that follows a prompt."""
    joined = content.replace("\\\n", " ")
    for line in joined.splitlines():
        if line.startswith("$ "):
            for part in re.split(r"\|\||&&", line[2:]):
                yield _without_assignments(shlex.split(part, comments=True))


def check(words: list[str], *, whole: bool = True) -> None:
    """Fail unless a command is one of those below, used as it can be; arguments may be left out."""
    name, *arguments = words
    assert name in _CHECKS, f"no check for the command {name!r}"
    try:
        _CHECKS[name](arguments)
    except Exception as error:
        # By name, because some versions of Typer have a click of their own.
        if whole or type(error).__name__ not in _LEFT_OUT:
            raise


def _without_assignments(words: list[str]) -> list[str]:
    while words and _ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    return words


def _check_ours(arguments: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    name = "webhook-dedup"
    while True:
        context = command.make_context(name, list(arguments))
        if not hasattr(command, "resolve_command"):
            return
        rest = [*context._protected_args, *context.args]
        name, command, arguments = command.resolve_command(context, rest)


def _check_pip(arguments: list[str]) -> None:
    verb, requirement = arguments
    assert verb == "install"
    if found := _REQUIREMENT.fullmatch(requirement):
        assert set(found["extras"].split(",")) <= set(
            metadata("webhook_dedup").get_all("Provides-Extra")
        )


def _check_make(arguments: list[str]) -> None:
    targets = {found["name"] for found in _TARGET.finditer((ROOT / "Makefile").read_text())}
    assert {word for word in arguments if "=" not in word} <= targets


def _check_uvicorn(arguments: list[str]) -> None:
    uvicorn.main.make_context("uvicorn", list(arguments))


def _shell(_: list[str]) -> None:
    """A word of the shell itself, or what every machine has."""


_CHECKS: dict[str, Callable[[list[str]], None]] = {
    ".": _shell,
    "echo": _shell,
    "export": _shell,
    "make": _check_make,
    "pip": _check_pip,
    "pytest": _shell,  # what it runs is run by test_test_kit
    "python3": _shell,
    "uvicorn": _check_uvicorn,
    "webhook-dedup": _check_ours,
}
