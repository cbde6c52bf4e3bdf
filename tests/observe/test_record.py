"""What a record shows of itself, and which records are equal."""

from __future__ import annotations

import copy
import io
import pickle

from msgspec.structs import replace
from rich.console import Console

from webhook_dedup.model import BatchItem, Delivery, Event
from webhook_dedup.observe.record import Kind, Record

DELIVERY = Delivery("d1", "shop", "POST", "/hook", (), b"the secret body", 1.0)
RECEIVED = Record(Kind.RECEIVED, "shop", event_id="evt_1", delivery=DELIVERY, at=2.0)


def as_rich_shows(value: object) -> str:
    console = Console(file=io.StringIO(), width=10_000)
    console.print(value)
    return console.file.getvalue()


def test_neither_a_record_nor_an_item_shows_what_was_delivered():
    """Logs and tracebacks with their locals may print either; the body stays out of them."""
    item = BatchItem(Event(None, "shop", "evt_1"), {"card": "the secret body"}, 0)
    for shown in map(as_rich_shows, (RECEIVED, item)), map(repr, (RECEIVED, item)):
        record, of_batch = shown
        assert "event_id='evt_1'" in record
        assert "index=0" in of_batch
        assert "secret" not in record + of_batch


def test_a_subclass_of_a_record_shows_its_own_name():
    """A reader of a log is told which class it is."""

    class Told(Record, frozen=True):
        pass

    assert repr(Told(Kind.STARTED, "shop", at=1.0)).startswith("Told(kind=")


def test_records_are_equal_and_hashed_by_all_but_the_delivery():
    """An observer may count distinct records, with the delivery or as they come back without."""
    without = replace(RECEIVED, delivery=None)
    assert without == RECEIVED
    assert len({RECEIVED, without, copy.copy(RECEIVED), pickle.loads(pickle.dumps(RECEIVED))}) == 1
    assert RECEIVED not in {replace(RECEIVED, event_id="evt_2"), replace(RECEIVED, at=3.0), "other"}
