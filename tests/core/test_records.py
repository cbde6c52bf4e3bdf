"""What is recorded, and what the log makes of it."""

from __future__ import annotations

import io
import json
import logging
import logging.handlers
import pickle
import queue
from typing import Any

import pytest

from webhook_dedup import JsonFormatter
from webhook_dedup.model import Claim, Key, Outcome
from webhook_dedup.observe import recorder
from webhook_dedup.observe.log import LogObserver, fields
from webhook_dedup.observe.record import Kind, Record, about, skip
from webhook_dedup.observe.recorder import Recorder

from .kit import Records, an_event

HOSTILE = [
    "new\nline kind=succeeded",
    "carriage\rreturn",
    "\x1b[31mred\x1b[0m",
    "nul\0",
    "\udc80surrogate",
    "\u2028separator",
    "\u202eright to left",
    'quote" and space',
    "\x7f\x85",
    "x" * 10_000,
]


@pytest.fixture
def log() -> Any:
    """``(logger, stream)`` with the plain format of a level and a message."""
    return _logger(logging.Formatter("%(levelname)s %(message)s"))


@pytest.fixture
def json_log() -> Any:
    return _logger(JsonFormatter())


def _logger(formatter: logging.Formatter) -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    return _private(handler), stream


def _private(handler: logging.Handler, level: int = logging.DEBUG) -> logging.Logger:
    logger = logging.Logger("test", level)  # noqa: LOG001 - one that nothing else configures
    logger.addHandler(handler)
    return logger


def a_skip(event_id: str = "evt_1", **options: Any) -> Record:
    claim = Claim("k", "t", Outcome.DUPLICATE, first_seen=1_700_000_000.0, done=True)
    event = an_event(event_id, type="order.paid", **options)
    return skip(Kind.SKIPPED, event, claim)


def _by_queue(record: logging.LogRecord) -> logging.LogRecord:
    return logging.handlers.QueueHandler(queue.SimpleQueue()).prepare(record)


def _by_socket(record: logging.LogRecord) -> logging.LogRecord:
    packed = logging.handlers.SocketHandler("localhost", 1).makePickle(record)
    return logging.makeLogRecord(pickle.loads(packed[4:]))


@pytest.mark.parametrize("passed_on", [_by_queue, _by_socket])
def test_a_line_that_another_thread_or_process_formats_keeps_its_traceback(passed_on):
    """Handlers that pass lines on take the exception out of them, and leave its text."""
    kept: list[logging.LogRecord] = []
    keeping = logging.Handler()
    keeping.emit = kept.append  # type: ignore[method-assign]  # all it is there for
    error = ValueError("what went\nwrong")
    failed = about(Kind.FAILED, an_event("evt_1"), error=error, detail="a\nb")
    LogObserver(_private(keeping)).record(failed)
    line = json.loads(JsonFormatter().format(passed_on(kept[0])))
    assert (line["kind"], line["detail"]) == ("failed", "a\nb")
    assert line["traceback"] == "ValueError: what went\nwrong"


def test_skip_is_one_line_with_everything_a_person_asks_for(log):
    """Reason, source, event, tenant, first-seen time, age and the state of the original."""
    logger, stream = log
    LogObserver(logger).record(a_skip(key=Key("webhook:shop", "evt_1", "acme")))
    [line] = stream.getvalue().splitlines()

    assert line.startswith("INFO skipped ")
    told = dict(part.split("=", 1) for part in line.split()[2:])
    assert told["reason"] == "duplicate"
    assert told["source"] == "shop"
    assert (told["event_id"], told["event_type"], told["tenant"]) == ("evt_1", "order.paid", "acme")
    assert float(told["first_seen"]) == 1_700_000_000.0
    assert float(told["age"]) > 0
    assert told["original"] == "done"
    assert told["delivery_id"]


@pytest.mark.parametrize("claim", [Outcome.IN_FLIGHT, Outcome.DUPLICATE, Outcome.MISMATCH])
def test_skip_says_how_it_stands_with_the_original(claim):
    """In flight or done, and whether the body was another."""
    done = claim is not Outcome.IN_FLIGHT
    record = skip(Kind.SKIPPED, an_event(), Claim("k", "t", claim, done=done))

    assert record.reason == ("duplicate" if done else "in_flight")
    assert record.original == ("done" if done else "in_flight")
    assert record.body_changed is (True if claim is Outcome.MISMATCH else None)
    assert (record.first_seen, record.age) == (None, None)


def test_age_is_never_negative():
    """A store whose clock is ahead does not make an event younger than nothing."""
    claim = Claim("k", "t", Outcome.DUPLICATE, first_seen=9e9, done=True)
    assert skip(Kind.SKIPPED, an_event(), claim).age == 0


LEVELS = {
    Kind.RECEIVED: "DEBUG",
    Kind.STARTED: "DEBUG",
    Kind.SKIPPED: "INFO",
    Kind.DEFERRED: "INFO",
    Kind.SUCCEEDED: "INFO",
    Kind.RETRIED: "INFO",
    Kind.RECOVERED: "INFO",
    Kind.REJECTED: "WARNING",
    Kind.FAILED: "WARNING",
    Kind.LEASE_LOST: "WARNING",
    Kind.STORE_ERROR: "WARNING",
    Kind.ESCALATED: "WARNING",
    Kind.BURIED: "ERROR",
}


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_its_level(log, kind):
    """Duplicates are everyday business; only a dead letter is an error."""
    logger, stream = log
    LogObserver(logger).record(about(kind, an_event()))

    assert stream.getvalue().split()[0] == LEVELS[kind]


def test_record_that_wants_attention_is_a_warning(log):
    """``warning=True`` lifts any record."""
    logger, stream = log
    LogObserver(logger).record(about(Kind.RECEIVED, an_event(), warning=True))

    assert stream.getvalue().startswith("WARNING")


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_hostile_ids_stay_on_their_line(log, hostile):
    """No event id can break, colour or forge a line of the log."""
    logger, stream = log
    LogObserver(logger).record(a_skip(hostile))
    text = stream.getvalue()

    assert len(text.splitlines()) == 1
    assert text.rstrip("\n").isascii()
    assert text.rstrip("\n").isprintable()
    assert text.count(" source=") == 1


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_json_lines_are_one_object_each_whatever_the_id(json_log, hostile):
    """A JSON line can be read back, with the id as it was."""
    logger, stream = json_log
    LogObserver(logger).record(a_skip(hostile))
    [line] = stream.getvalue().splitlines()
    told = json.loads(line)

    assert line.isascii()
    assert told["event_id"] == hostile
    assert (told["level"], told["logger"], told["kind"]) == ("INFO", "test", "skipped")
    assert told["time"].endswith("+00:00")


def test_json_formatter_takes_foreign_lines_and_tracebacks(json_log):
    """Lines of other code become one object too, tracebacks inside it."""
    logger, stream = json_log
    error = ValueError("broken\nin two")
    logger.error("it failed: %s", "badly", exc_info=error)
    told = json.loads(stream.getvalue())

    assert told["message"] == "it failed: badly"
    assert "ValueError: broken\nin two" in told["traceback"]


def test_fields_are_in_extra_for_other_handlers():
    """Any handler finds the record's fields, those that do not apply left out."""
    seen: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = seen.append  # type: ignore[method-assign]  # a spy
    LogObserver(_private(handler)).record(a_skip())

    told = seen[0].webhook_dedup
    assert told["kind"] == "skipped"
    assert told["reason"] == "duplicate"
    assert "delay" not in told
    assert None not in told.values()
    assert told == fields(a_skip()) | {key: told[key] for key in ("age", "delivery_id")}


def test_failure_carries_its_traceback(json_log):
    """What the handler raised is in the log, in one object."""
    logger, stream = json_log
    LogObserver(logger).record(about(Kind.FAILED, an_event(), error=LookupError("nowhere")))

    assert "LookupError: nowhere" in json.loads(stream.getvalue())["traceback"]


def test_level_that_is_off_costs_no_formatting():
    """A silent logger is not told."""

    class Untold(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise AssertionError("it was told")

    LogObserver(_private(Untold(), logging.ERROR)).record(a_skip())


@pytest.mark.parametrize(
    ("level", "fields", "made"),
    [
        (logging.DEBUG, {}, True),
        (logging.ERROR, {}, False),
        (logging.ERROR, {"warning": True}, True),
    ],
)
def test_a_record_that_nobody_wants_is_not_made(level, fields, made, monkeypatch):
    """Only what the log lets through is made, and what wants attention in any case."""
    asked: list[Kind] = []
    monkeypatch.setattr(recorder, "about", lambda kind, event, **_: asked.append(kind))
    logger = _private(logging.NullHandler(), level)
    monkeypatch.setattr(Recorder, "__call__", lambda self, record: None)
    Recorder([LogObserver(logger)]).about(Kind.STARTED, an_event(), **fields)
    assert asked == [Kind.STARTED] * made


def test_an_observer_that_does_not_choose_gets_every_record():
    """Beside a log that is off, others are told of everything."""
    records = Records()
    log = LogObserver(_private(logging.NullHandler(), logging.CRITICAL))
    observed = Recorder([log, records])
    for kind in Kind:
        observed.about(kind, an_event())
    assert [record.kind for record in records.all] == list(Kind)


class _Raises:
    def wants(self, kind: Kind) -> bool:
        raise LookupError(kind)

    def record(self, record: Record) -> None:
        raise AssertionError("it said nothing of wanting it")


class _HasAnAttribute:
    wants = frozenset({"failed"})

    def __init__(self) -> None:
        self.records: list[Record] = []

    def record(self, record: Record) -> None:
        self.records.append(record)


def test_observer_that_cannot_say_what_it_wants_harms_nobody(caplog):
    """It is reported; one whose attribute merely bears the name gets every record."""
    Recorder([_Raises()]).about(Kind.STARTED, an_event())
    assert caplog.records[0].getMessage() == "observer _Raises failed on started"
    observer = _HasAnAttribute()
    Recorder([observer]).about(Kind.STARTED, an_event())
    assert [record.kind for record in observer.records] == [Kind.STARTED]


def test_observer_that_raises_is_isolated(caplog):
    """It is reported with the kind it failed on; the others get the record all the same."""

    class Broken:
        def record(self, record: Record) -> None:
            raise RuntimeError("observer down")

    records = Records()
    Recorder([Broken(), records])(a_skip())

    assert len(records.all) == 1
    [line] = caplog.records
    assert line.getMessage() == "observer Broken failed on skipped"


def test_no_body_and_no_header_is_ever_told(log):
    """Whatever the delivery carries, the line knows its id only."""
    logger, stream = log
    LogObserver(logger).record(a_skip(body=b'{"card": "4242"}'))

    assert "4242" not in stream.getvalue()
