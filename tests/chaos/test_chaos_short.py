"""The chaos program in its short form, and its judgement on made-up ledgers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.chaos.verdict import judge

ROOT = Path(__file__).parents[2]
LIMIT = 240
LEASE = 2.0


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_short_chaos(store, tmp_path):
    """Under kills, freezes and outages no acknowledged event is lost or run again unexplained."""
    figures = tmp_path / "figures.json"
    options = ["--store", store, "--seconds", "7", "--seed", "11", "--json", str(figures)]
    command = [sys.executable, "-m", "benchmarks.chaos", *options]
    done = subprocess.run(
        command, check=False, cwd=ROOT, timeout=LIMIT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads(figures.read_text())[store]
    assert verdict["acknowledged"] > 0
    assert verdict["kills"]
    assert verdict["outages"] > 0
    assert not verdict["lost"]


def line(what, at, pid=1, **more):
    return {"what": what, "at": at, "pid": pid, "id": "e", **more}


def run(at, pid, *ends):
    return [line("began", at, pid), *(line(end, at + 0.1, pid) for end in ends)]


FIRST = run(1, 1, "effect", "ended")
SECOND = run(5, 2, "effect", "ended", "completed")


def test_lost():
    """An event that was acknowledged and has no effect is lost, whatever else it did."""
    verdict = judge(run(1, 1, "ended"), {"e", "never"}, LEASE)
    assert verdict.lost == ["e", "never"]
    assert not verdict.holds


def test_second_run_without_harm():
    """A second run that nothing explains breaks the promise."""
    verdict = judge([*FIRST, *SECOND], {"e"}, LEASE)
    assert verdict.unexplained == ["e"]
    assert not verdict.holds


def test_harm_of_others_explains_nothing():
    """A kill of one process explains no second run of an event that another process ran."""
    verdict = judge([*FIRST, line("kill", 2, 9, point="at random"), *SECOND], {"e"}, LEASE)
    assert verdict.unexplained == ["e"]


def test_kill_after_complete_explains_nothing():
    """A run whose claim was complete when its process died must not be followed by another."""
    completed = run(1, 1, "effect", "ended", "completed")
    verdict = judge([*completed, line("kill", 2, 1, point="at random"), *SECOND], {"e"}, LEASE)
    assert verdict.unexplained == ["e"]


@pytest.mark.parametrize(
    "harm",
    [
        [line("kill", 2, 1, point="inside the handler")],
        [line("frozen", 1.05, 1), line("thawed", 4, 1)],
        [line("outage", 1.05, 0), line("healed", 4, 0)],
    ],
    ids=["kill", "freeze", "outage"],
)
def test_harmed_run(harm):
    """One harmed run explains one second run, and no third."""
    assert judge([*FIRST, *harm, *SECOND], {"e"}, LEASE).holds
    third = run(9, 3, "effect", "ended", "completed")
    assert not judge([*FIRST, *harm, *SECOND, *third], {"e"}, LEASE).holds


def test_short_outage_explains_nothing():
    """An outage too short to end a lease explains no second run."""
    outage = [line("outage", 1.05, 0), line("healed", 1.5, 0)]
    assert not judge([*FIRST, *outage, *SECOND], {"e"}, LEASE).holds
