"""The newcomer types, sees, and notices what is not as the page says."""

from __future__ import annotations

import os

import pytest

from .__main__ import TUTORIAL, Newcomer
from .page import INTERRUPT, Command, File, Session, parts_of
from .terminal import NotAsShown, Terminal

PAGE = """# A page

## First

```python title="hello.py"
print("hello")
```

```console title="Terminal 1"
$ echo one
one
^C
$ sleep 60
```

## Nothing to do

```console
$ not for the newcomer
```
"""


@pytest.fixture
def terminal(tmp_path):
    terminal = Terminal(tmp_path, {"PATH": os.environ["PATH"]})
    yield terminal
    terminal.close()


@pytest.fixture
def newcomer(tmp_path):
    newcomer = Newcomer(tmp_path, 8000)
    yield newcomer
    newcomer.close()


def test_page_is_taken_apart():
    """Files, commands and what is to be seen come in their order; other blocks are left out."""
    [part] = parts_of(PAGE)
    assert part.heading == "First"
    assert part.steps == [
        File("hello.py", 'print("hello")\n'),
        Session(
            "Terminal 1",
            [Command("echo one", ["one"]), Command(INTERRUPT), Command("sleep 60")],
        ),
    ]


def test_tutorial_has_its_parts():
    """The tutorial is one that can be followed: five parts, two terminals, one file."""
    parts = parts_of(TUTORIAL.read_text("utf-8"))
    steps = [step for part in parts for step in part.steps]
    assert len(parts) == 5
    assert {step.terminal for step in steps if isinstance(step, Session)} == {
        "Terminal 1",
        "Terminal 2",
    }
    assert [step.name for step in steps if isinstance(step, File)] == ["app.py"]


def test_what_is_shown_is_seen(terminal):
    """A line is found whatever is left out of it; one that does not come is missed."""
    terminal.type("echo 'served   by host at noon'")
    terminal.see("served by … at noon", 5)
    assert terminal.end(5) == 0
    with pytest.raises(NotAsShown, match="served"):
        terminal.see("served by", 0.2)  # once seen, it is not seen again


def test_server_is_stopped(terminal):
    """A command that goes on has no status until it is interrupted."""
    terminal.type("echo up; sleep 60")
    terminal.see("up", 5)
    assert terminal.end(0.2) is None
    terminal.interrupt(5)
    terminal.type("echo again")
    terminal.see("again", 5)


def test_command_that_fails_is_noticed(newcomer):
    """A status other than 0 ends the tour."""
    newcomer.do(Session("Terminal 1", [Command("true")]))
    with pytest.raises(NotAsShown, match="status 3"):
        newcomer.do(Session("Terminal 1", [Command("bash -c 'exit 3'")]))


def test_files_are_where_the_commands_run(newcomer):
    """What the page tells to save is found by the next command."""
    newcomer.do(File("greeting", "hello\n"))
    newcomer.do(Session("Terminal 1", [Command("cat greeting", ["hello"])]))
