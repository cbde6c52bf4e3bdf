"""Whatever comes over a real socket: a clear 4xx, one record, no claim, and serving goes on."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
from dataclasses import dataclass, field

import pytest

from tests.servers import wait_until

from .kit import BODY, signed
from .processes import COMMANDS, Served
from .served import LARGEST
from .wire import Connection, ask, request

FORM = {"content-type": "application/x-www-form-urlencoded"}
MULTIPART = {"content-type": "multipart/form-data; boundary=b"}
PACKED = {"content-encoding": "gzip"}
HUGE = 4 * 1024 * 1024


def delivery(path: str, body: bytes, headers=(), **options) -> bytes:
    """A signed delivery, with more headers."""
    pairs = list(headers.items() if isinstance(headers, dict) else headers)
    return request(path, body, [*pairs, *signed(body).items()], **options)


def of_json(body: bytes, **options) -> bytes:
    return delivery("/json", body, **options)


@dataclass
class Case:
    """A bad request, and how it is refused."""

    data: bytes
    status: int
    error: str
    says: str = field(default="")


ID = ("x-event-id", "evt_1")

REFUSED = {
    "Content-Length beyond the limit": Case(
        request("/json", headers=signed(), length=str(LARGEST + 1)),
        413,
        "body_too_large",
        f"larger than {LARGEST} bytes",
    ),
    "one byte too many": Case(of_json(b" " * (LARGEST + 1)), 413, "body_too_large"),
    "megabytes too many": Case(of_json(b" " * HUGE), 413, "body_too_large"),
    "chunks beyond the limit": Case(
        request("/json", headers=signed(), chunks=[b" " * LARGEST, b" "]), 413, "body_too_large"
    ),
    "gzip that holds a byte too many": Case(
        delivery("/json", gzip.compress(b" " * (LARGEST + 1), mtime=0), PACKED),
        413,
        "body_too_large",
        f"more than {LARGEST} bytes",
    ),
    "id of a megabyte": Case(
        of_json(b'{"id": "%b"}' % (b"x" * 1024 * 1024)), 413, "body_too_large"
    ),
    "long id": Case(
        of_json(b'{"id": "%b"}' % (b"x" * 60_000)), 400, "event_id_too_long", "2,000 characters"
    ),
    "long number for an id": Case(
        of_json(b'{"id": %b}' % (b"9" * 4_000)), 400, "event_id_too_long"
    ),
    "number too long to read": Case(
        of_json(b'{"id": %b}' % (b"9" * 60_000)), 400, "malformed_json"
    ),
    "no JSON": Case(of_json(b"id=evt_1"), 400, "malformed_json", "line 1, column 1"),
    "JSON cut short": Case(of_json(b'{"id": "evt_1"'), 400, "malformed_json"),
    "no UTF-8": Case(of_json(b'{"id": "\xff"}'), 400, "malformed_json", "invalid utf-8"),
    "empty body": Case(of_json(b""), 400, "malformed_json", "it is empty"),
    "no body at all": Case(of_json(b"", length=None), 400, "malformed_json", "it is empty"),
    "blank body": Case(of_json(b" \r\n"), 400, "malformed_json", "it is empty"),
    "deep nesting": Case(
        of_json(b'{"id": "e", "a": ' + b"[" * 60_000), 400, "malformed_json", "nested too deeply"
    ),
    "deep nesting, well formed": Case(
        of_json(b"[" * 30_000 + b"]" * 30_000), 400, "malformed_json", "nested too deeply"
    ),
    "JSON that is no object": Case(of_json(b'["evt_1"]'), 400, "missing_event_id"),
    "JSON null": Case(of_json(b"null"), 400, "missing_event_id"),
    "no id": Case(of_json(b"{}"), 400, "missing_event_id"),
    "null id": Case(of_json(b'{"id": null}'), 400, "missing_event_id"),
    "empty id": Case(of_json(b'{"id": ""}'), 400, "missing_event_id"),
    "blank id": Case(of_json(b'{"id": " \\n\\u00a0"}'), 400, "missing_event_id"),
    "boolean id": Case(of_json(b'{"id": true}'), 400, "bad_event_id", "got a boolean"),
    "fraction for an id": Case(of_json(b'{"id": 1.5}'), 400, "bad_event_id", "got a fraction"),
    "object for an id": Case(of_json(b'{"id": {"a": 1}}'), 400, "bad_event_id", "got an object"),
    "list for an id": Case(of_json(b'{"id": [1]}'), 400, "bad_event_id", "got a list"),
    "no id header": Case(delivery("/header", BODY), 400, "missing_event_id"),
    "empty id header": Case(delivery("/header", BODY, {"x-event-id": ""}), 400, "missing_event_id"),
    "two ids in headers": Case(
        delivery("/header", BODY, [ID, ("X-Event-Id", "evt_2")]),
        400,
        "ambiguous_header",
        "2 different values",
    ),
    "long id in a header": Case(
        delivery("/header", BODY, {"x-event-id": "x" * 2_001}), 400, "event_id_too_long"
    ),
    "JSON for a form": Case(
        delivery("/form", BODY, {"content-type": "application/json"}),
        415,
        "unsupported_media_type",
        "it came as 'application/json'",
    ),
    "form without a content type": Case(
        delivery("/form", b"event=evt_1"), 415, "unsupported_media_type", "without a content type"
    ),
    "form without the field": Case(delivery("/form", b"a=b", FORM), 400, "missing_event_id"),
    "two ids in a form": Case(
        delivery("/form", b"event=a&event=b", FORM), 400, "ambiguous_field", "2 different values"
    ),
    "form of no UTF-8": Case(delivery("/form", b"event=%ff", FORM), 400, "malformed_form"),
    "form of thousands of fields": Case(
        delivery("/form", b"&" * 5_000, FORM), 400, "malformed_form"
    ),
    "multipart without a boundary": Case(
        delivery("/form", b"x", {"content-type": "multipart/form-data"}), 400, "malformed_form"
    ),
    "multipart cut short": Case(
        delivery("/form", b"--b\r\nContent-Disposition: form-data", MULTIPART),
        400,
        "malformed_form",
    ),
    "no signature": Case(request("/json", BODY), 401, "missing_signature"),
    "empty signature": Case(request("/json", BODY, {"x-signature": ""}), 401, "missing_signature"),
    "junk for a signature": Case(
        request("/json", BODY, {"x-signature": "\xff\xe9"}), 401, "malformed_signature"
    ),
    "huge signature": Case(
        request("/json", BODY, {"x-signature": "0" * 30_000}), 401, "malformed_signature"
    ),
    "two signatures": Case(
        request("/json", BODY, [("x-signature", "sha256=" + "0" * 64), *signed().items()]),
        401,
        "malformed_signature",
        "2 different values",
    ),
    "signature of another body": Case(
        request("/json", b'{"id": "evt_2"}', signed()), 401, "signature_mismatch"
    ),
}


@pytest.fixture(scope="module", params=COMMANDS)
def server(request, tmp_path_factory):
    with Served(request.param, tmp_path_factory.mktemp(request.param)) as served:
        yield served


_numbers = itertools.count()


async def _serves_on(server: Served) -> None:
    """A good delivery is accepted, runs, and is all that is left behind."""
    before = await _state(server)
    event = f"good_{next(_numbers)}"
    assert (await ask(server.port, of_json(json.dumps({"id": event}).encode()))).status == 200
    ended = {"run": "ended", "id": event}
    await asyncio.to_thread(wait_until, lambda: server.of(**ended), what="a run")
    await asyncio.to_thread(
        wait_until, lambda: server.of(kind="succeeded", event_id=event), what="its end"
    )
    state = await _state(server)
    assert state["inbox"] == 0
    assert state["claims"] == before["claims"] + 1


async def _state(server: Served) -> dict[str, int]:
    return (await ask(server.port, request("/state", method="GET"))).json()


def _lines_since(server: Served, mark: tuple[int, int]) -> tuple[list, list[str]]:
    """Records, and lines of the log, since a mark was made."""
    logged = [line for line in server.log[mark[1] :].splitlines() if "webhook_dedup" in line]
    return server.ledger[mark[0] :], logged


def _mark(server: Served) -> tuple[int, int]:
    return len(server.ledger), len(server.log)


@pytest.mark.parametrize("case", REFUSED.values(), ids=list(REFUSED))
async def test_refused(server, case):
    """Bad input is told what is wrong with it, in JSON and in one record, and leaves nothing."""
    before, mark = await _state(server), _mark(server)
    answer = await ask(server.port, case.data)
    assert answer is not None
    assert answer.status == case.status
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert set(told) == {"error", "detail"}
    assert told["error"] == case.error
    assert case.says in told["detail"]
    records, logged = _lines_since(server, mark)
    assert [(line["kind"], line["reason"], line["status"]) for line in records] == [
        ("rejected", case.error, case.status)
    ]
    assert len(logged) == 1
    assert logged[0].startswith("webhook_dedup rejected ")
    assert await _state(server) == before
    await _serves_on(server)


ACCEPTED = {
    "chunks": request("/json", headers=signed(), chunks=[BODY[:3], BODY[3:4], BODY[4:]]),
    "exactly as large as may be": of_json(b'{"id": 1}'.ljust(LARGEST)),
    "content type that does not fit": delivery("/json", BODY, FORM),
    "same id header twice": delivery("/header", BODY, [ID, ID]),
    "same signature twice": request("/json", BODY, [*signed().items(), *signed().items()]),
    "NUL in the id": of_json(b'{"id": "a\\u0000b"}'),
    "line break in the id": of_json(b'{"id": "a\\nwebhook_dedup rejected forged=yes"}'),
    "lone surrogate in the id": of_json(b'{"id": "\\ud800"}'),
    "latin-1 in an id header": delivery("/header", BODY, {"x-event-id": "\xe9\xff"}),
    "field in capitals": delivery(
        "/form", b"event=evt_1", {"CONTENT-TYPE": "Application/X-WWW-Form-URLencoded"}
    ),
    "query and fragment": delivery("/json?a=%00&b=#c", BODY),
}


@pytest.mark.parametrize("data", ACCEPTED.values(), ids=list(ACCEPTED))
async def test_odd_but_accepted(server, data):
    """What is odd but clear is accepted, logged without forged lines, and a copy is a duplicate."""
    mark = _mark(server)
    for _ in range(2):
        assert (await ask(server.port, data)).status == 200
    await _serves_on(server)
    _, logged = _lines_since(server, mark)
    assert {line.split()[1] for line in logged} <= {"skipped", "succeeded"}


REFUSED_BY_SERVERS = {
    "letters for a Content-Length": of_json(BODY, length="many"),
    "negative Content-Length": of_json(BODY, length="-1"),
    "signed Content-Length": of_json(BODY, length="+15"),
    "Content-Length of many digits": of_json(BODY, length="9" * 40),
    "Content-Length of a thousand digits": of_json(BODY, length="9" * 1_000),
    "two Content-Lengths": delivery("/json", BODY, {"Content-Length": "3"}),
    "NUL in a header": delivery("/header", BODY, {"x-event-id": "a\0b"}),
    "line break in a header": delivery("/header", BODY, {"x-event-id": "a\nb"}),
    "chunk of no size": request("/json", headers=signed(), chunks=[]) + b"zz\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
}


@pytest.mark.parametrize("data", REFUSED_BY_SERVERS.values(), ids=list(REFUSED_BY_SERVERS))
async def test_not_even_http(server, data):
    """What is no HTTP gets a 4xx or a closed connection, claims nothing, and hurts nobody."""
    before, mark = await _state(server), _mark(server)
    answer = await ask(server.port, data)
    assert answer is None or 400 <= answer.status < 500
    assert await _state(server) == before
    assert {line.get("kind") for line in _lines_since(server, mark)[0]} <= {"rejected"}
    await _serves_on(server)


HALF = b'{"id": "half"}'
TRUNCATED = {
    "Content-Length": of_json(HALF, length=str(len(HALF) + 10)),
    "no byte of the body": of_json(b"", length="10"),
    "in mid-chunk": of_json(HALF, length=None).replace(
        b"Host:", b"Transfer-Encoding: chunked\r\nHost:"
    )[: -len(HALF)]
    + b"ff\r\n"
    + HALF,
    "between chunks": request("/json", headers=signed(HALF), chunks=[HALF])[: -len(b"0\r\n\r\n")],
}


@pytest.mark.parametrize("data", TRUNCATED.values(), ids=list(TRUNCATED))
async def test_hung_up(server, data):
    """A client that hangs up in mid-body leaves one record and nothing else."""
    before, mark = await _state(server), _mark(server)
    async with Connection(server.port) as connection:
        connection.send(data)
        await asyncio.sleep(0.1)  # let the server begin to read; the test holds either way
    await asyncio.to_thread(wait_until, lambda: _lines_since(server, mark)[0], what="a record")
    [record] = _lines_since(server, mark)[0]
    assert (record["kind"], record["reason"]) == ("rejected", "client_left")
    assert await _state(server) == before
    assert "Traceback" not in server.log
    await _serves_on(server)


async def test_connection_lives_on(server):
    """A refusal does not end a connection whose request was read to its end."""
    async with Connection(server.port) as connection:
        for status in (400, 200, 401, 200):
            body = json.dumps({"id": f"kept_{next(_numbers)}"} if status != 400 else {}).encode()
            headers = signed(body if status != 401 else b"")
            connection.send(request("/json", body, headers))
            assert (await connection.answer()).status == status


async def test_nothing_in_the_log_but_lines(server):
    """After all of that the server's log holds no traceback."""
    assert "Traceback" not in server.log
