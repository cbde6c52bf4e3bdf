"""A replay is the same delivery, to the byte."""

# ruff: noqa: S101 - a test suite asserts
from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from ...contracts import OperableInbox, Sought
from ...model import Item
from ..store_rules.keys import HOSTILE
from ..timed import LONG_LEASE
from .case import InboxCase, a_taken, an_attempt, an_item, known, nothing_is_due, put, take_one

__all__ = ["HOSTILE_TEXTS", "DeliveryRules"]

_LONGEST = 10_000
HOSTILE_TEXTS: Mapping[str, str] = {
    **{what: text for what, text in HOSTILE.items() if len(text) <= _LONGEST},
    "10,000 characters": "k" * _LONGEST,
    "10,000 four-byte characters": "\U0001f511" * _LONGEST,
}

_EVERY_BYTE = bytes(range(256))
_BODIES: Mapping[str, bytes] = {
    "empty": b"",
    "NUL": b"\0",
    "every byte": _EVERY_BYTE,
    "not UTF-8": b"\xff\xfe\xc3\x28\xed\xa0\x80",
    "JSON with odd spaces": b'{"b" :1,\r\n"a":1.0,  "a":2}\n',
    "base64": b"AAEC/w==",
    "1 MiB": _EVERY_BYTE * 4096,
}
_HEADERS: Mapping[str, tuple[tuple[bytes, bytes], ...]] = {
    "none": (),
    "repeated": ((b"x-tag", b"b"), (b"x-tag", b"a"), (b"accept", b"*/*"), (b"x-tag", b"b")),
    "latin-1": ((b"x-name", _EVERY_BYTE[0xA0:]), (b"x-\xe9", b"\x80\xff")),
    "empty values": ((b"x-empty", b""), (b"x-space", b" \t ")),
    "quotes": ((b"x-quote", b"\"'\\{}%s:key"),),
    "many": tuple((b"x-%d" % number, b"%d" % number) for number in range(500)),
    "long": ((b"x-long", b"v" * 64_000),),
}
_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "everything": {
        "method": "PUT",
        "path": "/hooks/é/a b",
        "raw_path": b"/app/hooks/%C3%A9/a%20b",
        "root_path": "/app",
        "query_string": b"a=1&a=2&b=%00&c=\xff+",
        "scheme": "https",
        "http_version": "2",
        "client": ("2001:db8::1", 54321),
        "server": ("hooks.example.com", 443),
        "path_params": {"tenant": "a-b ü", "number": 7, "share": 0.5, "deep": {"a": [1, None]}},
        "received_at": 1_700_000_000.1234567,
    },
    "nothing": {"path": "", "raw_path": None, "client": None, "server": None, "path_params": {}},
    "empty bytes": {"raw_path": b"", "query_string": b""},
    "a unix socket": {"client": ("", 0), "server": ("/run/app.sock", None)},
    "NUL in a path": {"path": "/a\0b", "raw_path": b"/a%00b"},
    "a time before 1970": {"received_at": -1.5},
}
_PASTS: Mapping[str, Mapping[str, Any]] = {
    "attempts": {"attempts": 3},
    "runs cut off": {"attempts": 3, "cut_off": 2},
    "a deferral": {"deferred": True},
    "a history": {"history": (an_attempt("first\nline"), an_attempt("second"))},
    "all of it": {"attempts": 12, "deferred": True, "history": (an_attempt("7 1 x"),)},
}


class DeliveryRules(InboxCase):
    """Everything of a delivery comes back as it was put."""

    async def test_past_of_an_item_comes_back(self, inbox: OperableInbox) -> None:
        """What befell an item before it was put, as when inboxes are merged, is kept."""
        for what, past in _PASTS.items():
            item = await put(inbox, replace(an_item(), **past), LONG_LEASE)
            assert replace(await known(inbox, item), token=item.token) == item, what

    async def test_bodies_come_back(self, inbox: OperableInbox) -> None:
        """Empty, binary and large bodies are kept byte for byte."""
        for what, body in _BODIES.items():
            await self._comes_back(inbox, what, an_item(body=body))

    async def test_headers_come_back(self, inbox: OperableInbox) -> None:
        """Headers keep their order, their repetitions and their bytes."""
        for what, headers in _HEADERS.items():
            await self._comes_back(inbox, what, an_item(headers=headers))

    async def test_every_field_comes_back(self, inbox: OperableInbox) -> None:
        """The whole of a delivery is kept, what it lacks included."""
        for what, fields in _FIELDS.items():
            await self._comes_back(inbox, what, an_item(**fields))

    async def test_any_text_is_kept(self, inbox: OperableInbox) -> None:
        """Source, key and event id are kept whatever stands in them."""
        for what, text in HOSTILE_TEXTS.items():
            await self._comes_back(inbox, what, an_item(key=text, event_id=text, source=text))

    async def test_any_text_is_a_batch(self, inbox: OperableInbox) -> None:
        """Items with hostile texts go together as well as alone."""
        items = [an_item(key=text, event_id=text, source=text) for text in HOSTILE_TEXTS.values()]
        await inbox.put(items, 0.0)
        taken = {each.id: each for each in await inbox.take(len(items), LONG_LEASE)}
        for item in items:
            _same(taken[item.id], item, "of a batch")
        await inbox.done(items)
        assert await inbox.count(Sought()) == 0

    async def test_any_text_is_an_error(self, inbox: OperableInbox) -> None:
        """What a handler failed with is kept, whatever it says."""
        for what, text in HOSTILE_TEXTS.items():
            failed = await a_taken(inbox, LONG_LEASE)
            attempt = an_attempt(text)
            assert await inbox.retry(failed, 0.0, attempt), what
            again = await take_one(inbox, LONG_LEASE)
            assert again.history == (attempt,), what
            assert await inbox.bury(again, attempt), what
            assert (await known(inbox, again)).history == (attempt, attempt), what

    async def test_unreadable_row_is_set_aside(
        self, inbox: OperableInbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A row that cannot be read is kept, dead and named in the log; the rest go on."""
        items = [await put(inbox, an_item(), 0.0) for _ in range(3)]
        spoilt = items[1]
        if not await self.spoil(inbox, spoilt.id):
            pytest.skip("this inbox has no way to spoil a row (see InboxCase.spoil)")
        with caplog.at_level(logging.WARNING, logger="webhook_dedup"):
            taken = [*await inbox.take(10, LONG_LEASE), *await inbox.take(10, LONG_LEASE)]
        assert {each.id for each in taken} == {items[0].id, items[2].id}
        assert any(spoilt.id in record.getMessage() for record in caplog.records)
        assert await nothing_is_due(inbox)
        (dead,) = await inbox.find(Sought(state="dead"))
        assert dead.id == spoilt.id
        assert dead.history[-1].error

    async def _comes_back(self, inbox: OperableInbox, what: str, item: Item) -> None:
        """See that take and get return what was put."""
        await put(inbox, item, 0.0)
        _same(await take_one(inbox, LONG_LEASE), item, what)
        _same(await known(inbox, item), item, what)


def _same(kept: Item, item: Item, what: str) -> None:
    """See that two items say the same, bodies first, which nobody wants to see compared."""
    assert type(kept.delivery.body) is bytes, what
    same_body = kept.delivery.body == item.delivery.body
    assert same_body, f"another body: {what}"
    bare = replace(kept.delivery, body=b"", path_params=dict(kept.delivery.path_params))
    assert bare == replace(item.delivery, body=b""), what
    assert (kept.id, kept.key, kept.event_id) == (item.id, item.key, item.event_id), what
