"""The documented structlog recipe works."""

import io
import json
import logging
import re
from pathlib import Path

import pytest

from webhook_dedup.observe.log import LogObserver
from webhook_dedup.observe.record import Kind, Record

DOCS = Path(__file__).parents[2] / "docs" / "observability.md"


@pytest.fixture
def logged(monkeypatch):
    """What the logger writes once the recipe was followed."""
    logger = logging.getLogger("webhook_dedup")
    before = (list(logger.handlers), logger.level)
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    section = DOCS.read_text().partition("## structlog")[2]
    exec(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1], {})  # the recipe
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.handlers, logger.level = before


def test_records_become_events(logged):
    """Each record is one event with its fields beside it, and so are plain lines."""
    LogObserver().record(
        Record(Kind.SKIPPED, "shop", event_id="evt\n1", reason="duplicate", age=1.5)
    )
    logging.getLogger("webhook_dedup").warning("the store is %s", "away")
    skipped, plain = logged()
    assert skipped["event"] == skipped["kind"] == "skipped"
    assert (skipped["source"], skipped["event_id"], skipped["age"]) == ("shop", "evt\n1", 1.5)
    assert skipped["level"] == "info"
    assert skipped["timestamp"]
    assert (plain["event"], plain["level"]) == ("the store is away", "warning")
