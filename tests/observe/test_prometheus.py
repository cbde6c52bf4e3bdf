"""What Prometheus scrapes equals what was sent."""

import math
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from tests.asgi.kit import Handler, deliver, until
from tests.observe.traffic import EXPECTED, observed, run
from tests.servers import RedisServer
from webhook_dedup import ConfigError
from webhook_dedup.inbox.redis import RedisInbox
from webhook_dedup.observe.prometheus import PrometheusObserver
from webhook_dedup.observe.record import Kind, Reason, Record
from webhook_dedup.testing.inbox_rules.case import an_item
from webhook_dedup.testing.store_rules.case import a_key


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def scrape(registry):
    """Scrape over HTTP, as a Prometheus server does; answer every sample."""
    server, thread = start_http_server(0, "127.0.0.1", registry)

    def scrape():
        address = f"http://127.0.0.1:{server.server_port}/metrics"
        with urllib.request.urlopen(address) as answer:
            text = answer.read().decode()
        return {
            (sample.name.removeprefix("webhook_dedup_"), *sorted(sample.labels.items())): sample
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    yield scrape
    server.shutdown()
    server.server_close()
    thread.join()


def value(samples, name, **labels):
    sample = samples.get((name, *sorted(labels.items())))
    return 0 if sample is None else sample.value


async def test_a_scrape_equals_what_was_sent(registry, scrape):
    """Every counter, histogram and gauge has the figures of the run."""
    handler = Handler()
    async with observed(handler, PrometheusObserver(registry, refresh=0.01)) as (app, records):
        await run(app, handler)
        await until(lambda: value(scrape(), "dead") == 1)
        samples = scrape()
    for name, figure in EXPECTED.items():
        counter, _, reason = name.partition(" ")
        labels = {"source": "shop"} | ({"reason": reason} if reason else {})
        assert value(samples, f"{counter}_total", **labels) == figure, (name, records.kinds)
    assert value(samples, "in_flight", source="shop") == 0
    assert value(samples, "waiting") == 0
    assert value(samples, "handler_seconds_count", source="shop") == EXPECTED["runs"]
    assert value(samples, "event_age_seconds_count", source="shop") >= EXPECTED["skips duplicate"]
    claims = value(samples, "store_batch_size_sum", verb="claim")
    assert claims >= EXPECTED["runs"]
    assert value(samples, "store_seconds_count", verb="claim") <= claims
    assert value(samples, "store_call_failures_total", verb="claim") == 0


async def test_what_an_app_leaves_behind_is_told(registry, scrape, tmp_path):
    """The last look is at the end of the app, however long ago the one before it was."""
    observer = PrometheusObserver(registry, refresh=3600)
    store = f"sqlite:///{tmp_path}/hooks.db"
    async with observed(Handler(422), observer, store=store) as (app, _):
        await deliver(app)
    assert value(scrape(), "dead") == 1


async def test_an_inbox_that_is_away_has_no_figures(registry, scrape):
    """What an inbox held is shown no longer while it does not answer, and again when it does."""

    def figures():
        samples = scrape()
        return [value(samples, name) for name in ("waiting", "dead", "oldest_waiting_seconds")]

    observer = PrometheusObserver(registry, refresh=0.01)
    with RedisServer() as server:
        inbox = RedisInbox.from_url(server.url)
        await inbox.put([an_item(key=a_key()) for _ in range(3)], 60.0)
        observer.watch(inbox)
        await until(lambda: figures()[:2] == [3, 0])
        server.stop()
        await until(lambda: all(map(math.isnan, figures())))
        server.start()
        await until(lambda: figures() == [0, 0, 0])
        await observer.aclose()
        await inbox.aclose()


async def test_no_label_grows(registry, scrape):
    """The ids of events and deliveries are in no label and no name."""
    observer = PrometheusObserver(registry)
    for kind in Kind:
        observer.record(Record(kind, "shop", event_id="evt_secret", delivery_id="d_secret", age=1))
    for labels in scrape():
        assert "secret" not in str(labels)


async def test_in_flight(registry, scrape):
    """A handler counts while it runs, whatever ends it; the early end of an item is none."""
    observer = PrometheusObserver(registry)

    def told(kind, **fields):
        observer.record(Record(kind, "shop", delivery_id="d1", event_id="batch", **fields))
        return value(scrape(), "in_flight", source="shop")

    ends = [
        (Kind.SUCCEEDED, {}),
        (Kind.FAILED, {}),
        (Kind.LEASE_LOST, {}),
        (Kind.RECOVERED, {}),
        (Kind.DEFERRED, {"attempt": 1}),
        (Kind.SKIPPED, {"reason": Reason.DISCARDED.value}),
    ]
    for kind, fields in ends:
        assert told(Kind.STARTED) == 1
        assert told(Kind.SUCCEEDED, detail="settled by its handler") == 1
        assert told(Kind.SKIPPED, reason="duplicate") == 1
        assert told(Kind.STORE_ERROR) == 1
        assert told(kind, **fields) == 0
        assert told(kind, **fields) == 0
    assert value(scrape(), "handler_seconds_count", source="shop") == len(ends)


async def test_handshakes_are_no_deliveries(registry, scrape):
    """An endpoint that was only asked whether it is willing has had no delivery."""
    PrometheusObserver(registry).record(Record(Kind.RECEIVED, "shop", reason="handshake"))
    assert value(scrape(), "deliveries_total", source="shop") == 0


async def test_a_failing_store_is_counted(registry, scrape):
    """Calls that fail are measured like the others, and counted."""
    observer = PrometheusObserver(registry)
    observer.store_call("claim", 3, 0.5, failed=True)
    samples = scrape()
    assert value(samples, "store_call_failures_total", verb="claim") == 1
    assert value(samples, "store_batch_size_sum", verb="claim") == 3
    assert value(samples, "store_seconds_sum", verb="claim") == 0.5


def test_one_observer_a_registry(registry):
    """A second observer in one registry is refused with what to do about it."""
    PrometheusObserver(registry)
    with pytest.raises(ConfigError, match="one PrometheusObserver"):
        PrometheusObserver(registry)


async def test_calls_of_one_id_at_once(registry):
    """Several may run at once, as of callers that chose the same key; each is counted by itself."""
    observer = PrometheusObserver(registry)

    def figure(name):
        return registry.get_sample_value(f"webhook_dedup_{name}", {"source": "idempotency"})

    for tenant in ("one", "two", "three"):
        observer.record(Record(Kind.STARTED, "idempotency", event_id="1", tenant=tenant))
    assert figure("in_flight") == 3
    for left, tenant in enumerate(("three", "one", "two"), 1):
        ended = Record(Kind.SUCCEEDED, "idempotency", event_id="1", tenant=tenant, duration=left)
        observer.record(ended)
        assert figure("in_flight") == 3 - left
    assert (figure("handler_seconds_count"), figure("handler_seconds_sum")) == (3, 6)
    assert not observer._runs._begun


def test_a_bounded_memory_of_runs(registry, monkeypatch):
    """Runs whose end nobody tells do not pile up."""
    monkeypatch.setattr("webhook_dedup.observe.metrics._MOST_OPEN", 3)
    observer = PrometheusObserver(registry)
    for number in range(10):
        observer.record(Record(Kind.STARTED, "shop", delivery_id=str(number)))
    assert len(observer._runs._begun) == 3
