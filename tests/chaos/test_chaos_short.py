"""The chaos program in its short form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT = 240
TRIALS = {
    "sqlite": [],
    "redis": ["--concurrency", "1"],
    "postgres": ["--effect", "transaction"],
}


@pytest.mark.parametrize("store", TRIALS)
def test_short_chaos(store, tmp_path):
    """Under harm of every kind no acknowledged event is lost or run again unexplained."""
    figures = tmp_path / "figures.json"
    options = ["--store", store, "--seconds", "7", "--seed", "11", "--json", str(figures)]
    command = [sys.executable, "-m", "benchmarks.chaos", *options, *TRIALS[store]]
    done = subprocess.run(
        command, check=False, cwd=ROOT, timeout=LIMIT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads(figures.read_text())[store]
    assert verdict["acknowledged"] > 0
    assert verdict["harms"]["kill"] > 0
    assert verdict["harms"]["outage"] > 0
    assert verdict["lost"] == verdict["unexplained"] == []
    if "transaction" in TRIALS[store]:
        assert verdict["doubled"] == 0
