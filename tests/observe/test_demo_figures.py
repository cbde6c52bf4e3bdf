"""What Prometheus scrapes of the demo, and what a collector is told, equals what the demo sent."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.observe.collector import collecting, figures_of, spans_of

PATIENCE = 60
ADDRESS = re.compile(r"http://\S+/metrics")

SENT = {
    ("deliveries", "github"): 5 + 1 + 1,
    ("deliveries", "stripe"): 1,
    ("rejections", "github", "signature_mismatch"): 1,
    ("rejections", "github", "missing_event_id"): 1,
    ("skips", "github", "duplicate"): 4 + 1,
    ("runs", "github"): 1 + 2,
    ("runs", "stripe"): 1,
    ("successes", "github"): 2,
    ("successes", "stripe"): 1,
    ("failures", "github"): 1,
    ("retries", "github"): 1,
}
"""A push five times at once and once later, a charge, a forgery, one without an id, and a push
whose handler fails first."""


SAME = {
    "handler_seconds_count": "handler.duration",
    "event_age_seconds_count": "event.age",
    "store_seconds_count": "store.duration",
    "store_batch_size_count": "store.batch_size",
    "in_flight": "in_flight",
    "waiting": "waiting",
    "dead": "dead",
}
"""Figures beside the counters: as they are scraped, and as they are exported."""


@dataclass
class Shown:
    """What a demo left behind when it had sent everything.

    Attributes:
        log: Its log.
        scraped, exported: Every figure by its name and labels.
        spans: How many were exported, by name.
    """

    log: list[dict]
    scraped: dict
    exported: dict
    spans: Counter


def scrape(address):
    with urllib.request.urlopen(address) as answer:
        text = answer.read().decode()
    return {
        (sample.name.removeprefix("webhook_dedup_"), *source_first(sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def source_first(labels):
    return [labels[name] for name in sorted(labels, reverse=True)]


@pytest.fixture(scope="module")
def shown():
    """The demo, exporting to a collector, and scraped while it waits for Ctrl-C."""
    with collecting() as collector:
        arguments = ["demo", "--metrics-port", "0", "--otlp", collector.url]
        process = subprocess.Popen(
            [sys.executable, "-m", "webhook_dedup", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            address = next(filter(None, (ADDRESS.search(line) for line in process.stdout)))
            scraped = scrape(address[0])
            process.send_signal(signal.SIGINT)
            _, log = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
        assert process.returncode == 0, log
        told = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        names = Counter(span.name for span in spans_of(collector.spans))
        return Shown(told, scraped, figures_of(collector.metrics), names)


def deferred(shown):
    """How many copies met the first one, which is for chance to say, by the log."""
    number = sum(line["kind"] == "deferred" for line in shown.log)
    return {("deferrals", "github", "in_flight"): number} if number else {}


def test_a_scrape_equals_what_was_sent(shown):
    """Each counter that is scraped has the figure of what was sent, and no other has any."""
    counters = {
        (name.removesuffix("_total"), *labels): value
        for (name, *labels), value in shown.scraped.items()
        if name.endswith("_total") and value
    }
    assert counters == SENT | deferred(shown)


def test_an_export_equals_what_was_sent(shown):
    """A collector is told the same: each counter, and a span for each delivery and each run."""
    names = {name for name, *_ in SENT} | {"deferrals"}
    counters = {key: value for key, value in shown.exported.items() if key[0] in names}
    assert counters == SENT | deferred(shown)
    others = {"store_errors", "dead_letters", "lease_losses", "recoveries", "escalations"}
    assert not others & {name for name, *_ in shown.exported}
    deliveries = sum(value for (name, *_), value in SENT.items() if name == "deliveries")
    runs = sum(value for (name, *_), value in SENT.items() if name == "runs")
    assert shown.spans["webhook claim"] == deliveries
    assert shown.spans["webhook handler"] == runs


def test_both_tell_the_same(shown):
    """Counts of histograms and values of gauges agree, and with the log where it tells of them."""
    for scraped, exported in SAME.items():
        assert named(shown.scraped, scraped) == named(shown.exported, exported), scraped
    ages = sum("age" in line for line in shown.log)
    assert sum(named(shown.scraped, "event_age_seconds_count").values()) == ages
    assert named(shown.scraped, "handler_seconds_count") == {("github",): 3, ("stripe",): 1}
    assert named(shown.scraped, "in_flight") == {("github",): 0, ("stripe",): 0}
    assert shown.scraped["waiting",] == shown.scraped["dead",] == 0


def named(figures, wanted):
    """The figures of one name, by their labels."""
    return {tuple(labels): value for (name, *labels), value in figures.items() if name == wanted}
