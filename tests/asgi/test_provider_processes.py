"""Providers over real servers and a SQLite file: copies, overlapping batches, a killed process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.ports import HOST, free_port, reserve_port
from tests.servers import wait_until
from webhook_dedup.providers.samples import sample_delivery, sample_secret

ROOT = Path(__file__).parents[2]
NAMES = ("stripe", "sendgrid", "slack", "discord")


class Shop:
    """Server processes that share a store and a ledger.

    Attributes:
        secrets: Of each provider, what signs and what verifies.
    """

    def __init__(self, directory: Path) -> None:
        self.secrets = {name: sample_secret(name) for name in NAMES}
        self._directory = directory
        self._ledger = directory / "ledger"
        self._ledger.touch()

    @contextmanager
    def served(self, **options: str):
        """Serve the app in a process of its own; yield its port and the process."""
        port = reserve_port()
        verifying = {name: secret.verifying for name, secret in self.secrets.items()}
        environment = {
            **os.environ,
            "STORE": f"sqlite:///{self._directory}/webhooks.db",
            "LEDGER": str(self._ledger),
            "SECRETS": json.dumps(verifying),
            **options,
        }
        command = ["uvicorn", "tests.asgi.provider_app:app", "--host", HOST, "--port", str(port)]
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--no-access-log"], cwd=ROOT, env=environment
        )
        try:
            wait_until(lambda: _listens(port), what="the server")
            yield port, process
        finally:
            process.kill()
            process.wait()
            free_port(port)

    def send(self, port: int, name: str, **options) -> httpx.Response:
        url = f"http://{HOST}:{port}/webhooks/{name}"
        secret = self.secrets[name].signing
        sample = sample_delivery(name, secret=secret, url=url, **options)
        # Without TLS, of which loading the certificates would be most of the work.
        return httpx.post(
            url, content=sample.body, headers=sample.headers, timeout=20, verify=False
        )

    @property
    def lines(self) -> list[dict]:
        whole, _, _ = self._ledger.read_text().rpartition("\n")  # the last may be under way
        return [json.loads(line) for line in whole.splitlines()]

    @property
    def effects(self) -> Counter:
        return Counter(line["effect"] for line in self.lines if "effect" in line)

    def of(self, kind: str) -> list[dict]:
        return [line for line in self.lines if line.get("kind") == kind]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def test_copies_over_two_servers_run_once(shop):
    """Ten copies at once of one event of each provider have one effect, and all get a 2xx."""
    now = time.time()
    with ExitStack() as stack, ThreadPoolExecutor(10) as pool:
        ports = [stack.enter_context(shop.served())[0] for _ in range(2)]
        for name in NAMES:
            ran = sum(shop.effects.values())
            calls = [
                pool.submit(shop.send, ports[number % 2], name, now=now, attempt=1 + number % 3)
                for number in range(10)
            ]
            statuses = Counter(call.result().status_code for call in calls)
            if name == "discord":  # its answer is the product: copies at once are asked again
                assert set(statuses) <= {200, 503}
                assert shop.send(ports[0], name, now=now).json() == {"type": 4}
            else:
                assert statuses == {200: 10}
            wait_until(lambda ran=ran: sum(shop.effects.values()) > ran, what="a run")
        wait_until(lambda: len(shop.of("skipped")) >= 3 * 9, what="the skips")
    assert sorted(shop.effects.values()) == [1] * len(NAMES)


def test_overlapping_batches_run_each_item_once(shop):
    """Batches that share items, at once and in two processes: every item has one effect."""
    now = time.time()
    numbers = [str(number) for number in range(40)]
    batches = [numbers[at : at + 12] for at in range(0, 36, 4)]
    with ExitStack() as stack, ThreadPoolExecutor(9) as pool:
        ports = [stack.enter_context(shop.served(SECONDS="0.05"))[0] for _ in range(2)]
        calls = [
            pool.submit(shop.send, ports[number % 2], "sendgrid", items=items, now=now)
            for number, items in enumerate(batches)
        ]
        assert {call.result().status_code for call in calls} == {200}
        wait_until(lambda: len(shop.effects) == len(numbers), what="an effect of each item")
        brought = Counter(item for items in batches for item in items)
        copies = sum(brought.values()) - len(brought)
        wait_until(lambda: len(shop.of("skipped")) >= copies, what="a skip of each copy")
        wait_until(lambda: len(shop.of("succeeded")) >= len(numbers), what="the end of each item")
    assert set(shop.effects.values()) == {1}
    assert len(shop.of("succeeded")) == len(numbers)


def test_killed_after_some_items_are_settled(shop):
    """After SIGKILL the next process runs the items that were not settled, and no other."""
    items = [str(number) for number in range(6)]
    with shop.served(SETTLES="1", DIE_AFTER="3") as (port, process):
        assert shop.send(port, "sendgrid", items=items).status_code == 200
        process.wait(10)
    assert sum(shop.effects.values()) == 3
    with shop.served(SETTLES="1"):
        wait_until(lambda: len(shop.effects) == 6, what="an effect of each item")
        wait_until(lambda: len(shop.of("recovered")) >= 3, what="those that were settled before")
        time.sleep(2.5)  # longer than any lease: what would run twice has had its time
    assert set(shop.effects.values()) == {1}
    assert len(shop.of("recovered")) == 3
