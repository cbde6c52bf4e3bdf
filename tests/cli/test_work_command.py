"""``webhook-dedup work``: handlers run in other processes than those that accept."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.every_store import durable_url
from tests.ports import HOST, free_port, reserve_port
from tests.servers import wait_until
from webhook_dedup import ConfigError, Dedup, Source
from webhook_dedup.providers import sign

from .operating import SECRET

ROOT = Path(__file__).parents[2]


url = durable_url


class Crew:
    """The processes of one test: a server that only accepts, and workers."""

    def __init__(self, url, directory):
        self._ledger = directory / "ledger"
        self._ledger.touch()
        self._environment = {**os.environ, "STORE": url, "LEDGER": str(self._ledger)}
        self._log = directory / "log"

    @contextmanager
    def server(self):
        port = reserve_port()
        command = ["uvicorn", "tests.cli.work_app:app", "--host", HOST, "--port", str(port)]
        try:
            with self._process(*command):
                hook = f"http://{HOST}:{port}/hook"
                wait_until(lambda: _answers(hook), what="the server")
                yield hook
        finally:
            free_port(port)

    @contextmanager
    def worker(self, app="tests.cli.work_app:app", **environment):
        with self._process("webhook_dedup", "work", app, **environment) as process:
            yield process

    @contextmanager
    def _process(self, *command, **environment):
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env={**self._environment, **environment},
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def log(self):
        return self._log.read_text(errors="replace")

    def runs(self, what):
        """Each event's number of runs of which the ledger says ``what``."""
        return Counter(event for _, event, said in self._lines() if said == what)

    def processes(self):
        return {int(process) for process, _, _ in self._lines()}

    def _lines(self):
        return [line.split() for line in self._ledger.read_text().splitlines()]


@pytest.fixture
def crew(url, tmp_path):
    return Crew(url, tmp_path)


def _answers(hook):
    try:
        return httpx.get(hook).status_code == 405
    except httpx.TransportError:
        return False


def deliver(hook, event):
    body = json.dumps({"id": event}).encode()
    headers = sign("generic", secret=SECRET, body=body)
    assert httpx.post(hook, content=body, headers=headers, timeout=10).status_code == 200


def test_two_workers_share_the_events_of_a_server(crew):
    """Each event runs once, in one of the workers, copies of it in none; the server runs none."""
    with crew.server() as hook:
        for number in range(30):
            deliver(hook, f"event-{number}")
            deliver(hook, f"event-{number}")
        assert crew.runs("began") == {}
        with crew.worker() as first, crew.worker() as second:
            wait_until(lambda: len(crew.processes()) > 0, what="a worker that runs something")
            for number in range(30, 60):
                deliver(hook, f"event-{number}")
            wait_until(lambda: len(crew.runs("ended")) == 60, what="a run of each event")
            for worker in (first, second):
                worker.send_signal(signal.SIGTERM)
                assert worker.wait(20) == 0, crew.log()
    assert set(crew.runs("began").values()) == {1}
    assert crew.processes() <= {first.pid, second.pid}


def test_killed_worker_leaves_its_events_to_another(crew):
    """What a worker was killed inside of is run by the next."""
    with crew.server() as hook, crew.worker(HANDLER_SECONDS="60") as doomed:
        deliver(hook, "event")
        wait_until(lambda: crew.runs("began")["event"] == 1, what="a first run")
        doomed.kill()
        with crew.worker():
            wait_until(lambda: crew.runs("ended")["event"] == 1, what="a second run")
    assert crew.runs("began")["event"] == 2


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_collector_of_a_worker_is_spared_what_was_imported(crew):
    """It would walk through all of it again and again while the events wait."""
    with crew.server() as hook, crew.worker():
        deliver(hook, "event")
        wait_until(lambda: crew.runs("ended")["event"] == 1, what="a worker")
        deliver(hook, "frozen")
        wait_until(lambda: crew.runs("ended")["frozen"] == 1, what="a run")
    assert crew.runs("seen") == {"frozen": 1}


def test_stopped_worker_drains(crew):
    """A worker that is asked to stop lets its handlers end, and ends well."""
    with crew.server() as hook, crew.worker(HANDLER_SECONDS="1") as worker:
        deliver(hook, "event")
        wait_until(lambda: crew.runs("began")["event"] == 1, what="a run")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0, crew.log()
        assert crew.runs("ended")["event"] == 1


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_worker_that_is_stopped_while_its_app_starts_ends_well(crew):
    """A deployment that is taken back at once leaves no failed process, nor a word of a fault."""
    with crew.worker(START_SECONDS="1") as worker:
        wait_until(lambda: crew.runs("began")["app"] == 1, what="an app that starts")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0, crew.log()
    assert crew.runs("ended")["app"] == 1
    assert "did not start" not in crew.log()


def test_worker_says_what_it_works_on(crew, url):
    """Its first line names the sources and where their events are taken from, without secrets."""
    with crew.worker():
        wait_until(lambda: "working on" in crew.log(), what="a worker")
    (line,) = [line for line in crew.log().splitlines() if "working on" in line]
    kind = url.partition(":")[0].removesuffix("ql")
    assert re.fullmatch(rf"working on hook; store {kind}.*, inbox {kind}", line), line


@pytest.mark.parametrize(
    ("app", "hint"),
    [
        ("without", "no WebhookDedup started"),
        ("below", "no WebhookDedup started"),
        ("absent", "the app did not start"),
        ("failing", "the app did not start"),
        ("in_memory", "where no worker sees them"),
        ("handled", "never wait for a worker"),
    ],
)
def test_app_without_work_is_refused(tmp_path, app, hint):
    """A worker that could never run anything says why, and does not stay."""
    crew = Crew(f"sqlite:///{tmp_path}/webhooks.db", tmp_path)
    with crew.worker(f"tests.cli.work_app:{app}") as worker:
        assert worker.wait(20) == 1
    assert hint in crew.log()


def test_store_that_no_worker_can_see_is_refused():
    """Events left to workers must lie where workers find them."""
    sources = [Source("generic", path="/hook", event_id="id", secret=SECRET)]
    with pytest.raises(ConfigError, match=r"memory of this one; use a sqlite"):
        Dedup("memory://", sources=sources, work=False)


@pytest.mark.parametrize("ack", ["claimed", "handled"])
def test_acknowledgement_that_needs_the_handler_is_refused(tmp_path, ack):
    """A server that runs nothing cannot answer by what a run said."""
    sources = [Source("generic", path="/hook", event_id="id", secret=SECRET, ack=ack)]
    with pytest.raises(ConfigError, match="write ack='first'"):
        Dedup(f"sqlite:///{tmp_path}/webhooks.db", sources=sources, work=False)
