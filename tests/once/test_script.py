"""``once`` in a script, which ends as soon as its work is done."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(door, away):
    script = [sys.executable, "-m", "tests.once.script", door, str(away)]
    return subprocess.run(script, capture_output=True, text=True, timeout=60, check=True).stderr


@pytest.mark.parametrize("door", ["async", "sync"])
def test_script_ends_when_its_store_knows_what_is_done(door):
    """An outage that is shorter than the lease does not have the next run do it again."""
    told = run(door, 0.7)
    assert "succeeded source=once event_id=letter" in told
    assert told.index("succeeded") > told.index("has not confirmed that yet")
    assert "may be done again" not in told


@pytest.mark.parametrize("door", ["async", "sync"])
def test_script_says_what_its_store_does_not_know(door):
    """After the rest of the lease it ends, and names what may be done again."""
    told = run(door, 60)
    assert "succeeded" not in told
    [line] = [line for line in told.splitlines() if "may be done again" in line]
    assert line.startswith("WARNING:webhook_dedup:store_error source=once event_id=letter")
