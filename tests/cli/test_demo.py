"""The demo does the main job on every store, and says so when it cannot."""

import json
import socket
import subprocess
import sys

import pytest


def run_demo(*arguments):
    command = [sys.executable, "-m", "webhook_dedup", "demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def check(done):
    """Five copies at once ran once, and the log has a line for each of the four others."""
    assert done.returncode == 0, done.stdout + done.stderr
    row = next(line for line in done.stdout.splitlines() if "5 copies at once" in line)
    assert row.split()[-7:] == ["5", "5", "-", "1", "0", "4", "duplicate"]
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    skips = [line for line in lines if line.get("kind") == "skipped"]
    assert len(skips) == 5
    assert {line["reason"] for line in skips} == {"duplicate"}
    assert all(line["event_id"] and line["source"] == "github" for line in skips)


@pytest.mark.parametrize("url", [None, "memory://", "bloom://"])
def test_embedded_stores(url):
    """The demo passes on the stores that need no server."""
    check(run_demo(*(("--store", url) if url else ())))


def test_redis(redis_url):
    """The demo passes on a real Redis."""
    check(run_demo("--store", redis_url))


def test_postgres(postgres_url):
    """The demo passes on a real Postgres."""
    check(run_demo("--store", postgres_url))


@pytest.mark.parametrize(
    ("url", "remedy", "code"),
    [
        ("mysql://localhost", "sqlite:///webhooks.db", 2),
        ("redis", "redis://", 2),
        ("bloom://?capacity=0", "capacity", 2),
        ("sqlite:///no/such/folder/x.db", "directory", 2),
        ("redis://127.0.0.1:1", "cannot be reached", 1),
    ],
)
def test_wrong_store(url, remedy, code):
    """A store that cannot work ends the demo with one sentence, not with a traceback."""
    done = run_demo("--store", url)
    assert done.returncode == code
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken():
    """Metrics that cannot be served end the demo before anything is sent, with one sentence."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_demo("--metrics-port", str(port))
    assert done.returncode == 1
    assert f"port {port} cannot be served" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_collector_that_is_no_url():
    """It is refused before anything is sent."""
    done = run_demo("--otlp", "localhost:4318")
    assert done.returncode == 2
    assert "http://" in done.stderr
    assert not done.stdout


def test_a_collector_that_is_away():
    """The demo shows what it shows, whether or not its figures arrive."""
    check(run_demo("--otlp", "http://127.0.0.1:1"))
