"""``webhook-dedup bench`` measures the stores it is given, and says how they fared in a race."""

import json
import subprocess
import sys


def run_bench(*arguments):
    short = ("--seconds", "0.05", "--rounds", "1", "--tasks", "4")
    command = [sys.executable, "-m", "webhook_dedup", "bench", *short, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_stores_that_need_no_server():
    """Without a store named, those that are always there are compared."""
    done = run_bench()
    assert done.returncode == 0, done.stdout + done.stderr
    for store in ("memory", "bloom", "sqlite"):
        assert f"  {store} " in done.stdout
    assert "whole life" in done.stdout


def test_figures_for_machines(postgres_url):
    """With --json each line is an object, and the race granted every key once."""
    done = run_bench("--store", postgres_url, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["operation"] for line in lines[:-1]} == {"claim", "claim + complete", "whole life"}
    assert all(line["figures"]["rate"] > 0 for line in lines[:-1])
    assert lines[-1]["race"] == {"keys": 2000, "claims": 8000, "missed": 0, "skipped": 0}


def test_a_store_that_is_away():
    """A store that cannot be reached is named in one sentence."""
    done = run_bench("--store", "redis://127.0.0.1:1")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "cannot be reached" in done.stderr


def test_what_is_no_store():
    """A URL that names no store is wrong usage."""
    done = run_bench("--store", "mysql://localhost")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_no_tasks():
    """Nothing is measured with no task at all."""
    done = run_bench("--store", "memory://", "--tasks", "0")
    assert done.returncode == 2
    assert "--tasks" in done.stderr
    assert "Traceback" not in done.stderr
