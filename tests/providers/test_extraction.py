"""Where ids are found, what counts as one, and how everything else is refused."""

import gzip
import json
import zlib

import pytest

from webhook_dedup.errors import ConfigError, RejectedDelivery
from webhook_dedup.providers import Parsed, compile_extractor, compile_lenient, compile_time


def request(body=b"", *headers, content_type="application/json"):
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    if content_type:
        pairs.append((b"content-type", content_type.encode()))
    return Parsed(pairs, body if isinstance(body, bytes) else json.dumps(body).encode())


def refusal(expression, parsed):
    with pytest.raises(RejectedDelivery) as caught:
        compile_extractor(expression)(parsed)
    assert compile_lenient(expression)(parsed) is None
    return caught.value


def both(expression, parsed):
    value = compile_extractor(expression)(parsed)
    assert compile_lenient(expression)(parsed) == value
    return value


@pytest.mark.parametrize(
    ("expression", "body", "found"),
    [
        ("id", {"id": "evt_1"}, "evt_1"),
        ("id", {"id": " evt 1 "}, " evt 1 "),
        ("id", {"id": 17}, "17"),
        ("id", {"id": 0}, "0"),
        ("id", {"id": -(10**1500)}, "-1" + "0" * 1500),
        ("id", {"id": "\ud800'\"\0{}"}, "\ud800'\"\0{}"),
        ("id", {"id": "x" * 2000}, "x" * 2000),
        ("data.object.id", {"data": {"object": {"id": "x"}}}, "x"),
        ("data.object.id", {"data": [1]}, None),
        ("data.object.id", {"data": "text"}, None),
        ("items[0].id", {"items": [{"id": "first"}]}, "first"),
        ('"event-id"', {"event-id": "quoted"}, "quoted"),
        ("join('-', [type, id])", {"type": "t", "id": "i"}, "t-i"),
        ("not_null(a, b)", {"b": "second"}, "second"),
        ("id", {}, None),
        ("id", {"id": None}, None),
        ("id", {"id": ""}, None),
        ("id", {"id": " \t\n"}, None),
        ("id", [], None),
        ("id", "text", None),
        ("id", None, None),
    ],
)
def test_ids_in_json(expression, body, found):
    """A JMESPath finds text as it is and integers in decimal; nothing, null and blank are none."""
    assert both(expression, request(body)) == found


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "a boolean"),
        (False, "a boolean"),
        (1.5, "a fraction"),
        (float("nan"), "a fraction"),
        ([], "a list"),
        (["evt_1"], "a list"),
        ({}, "an object"),
    ],
)
def test_odd_ids_are_refused(value, kind):
    """What is neither text nor an integer is no id."""
    rejected = refusal("id", request({"id": value}))
    assert (rejected.status, rejected.code) == (400, "bad_event_id")
    assert rejected.detail == f"event id must be a string or an integer, got {kind}"


@pytest.mark.parametrize("value", ["x" * 2001, "x" * 1_000_000, 10**2000, 10**4000])
def test_long_ids_are_refused(value):
    """An id has at most 2,000 characters, in digits too."""
    rejected = refusal("id", request({"id": value}))
    assert (rejected.status, rejected.code) == (400, "event_id_too_long")


def test_an_integer_too_long_to_print_is_refused():
    """An integer from a function may be longer than Python prints."""
    assert refusal(lambda parsed: 10**10_000, request()).code == "event_id_too_long"


def test_numbers_elsewhere_do_not_matter():
    """NaN beside the id is none of our business."""
    assert both("id", request(b'{"id": "a", "x": NaN, "y": Infinity}')) == "a"


@pytest.mark.parametrize(
    ("body", "content_type", "says"),
    [
        (b"", "application/json", "it is empty; it came as 'application/json'"),
        (b" \n", None, "it is empty; it came without a content type"),
        (b'{"id": "evt', "application/json", "at line 1, column 8"),
        (b"a=1&b=2", "application/x-www-form-urlencoded", "as 'application/x-www-form-urlencoded'"),
        (b'{"id": "\xff"}', "application/json", "invalid utf-8 at byte 8"),
        (b"[" * 1_000_000, "application/json", "nested too deeply"),
        (b'{"a":' * 1_000_000, "application/json", "nested too deeply"),
        (b"{}x", "te\xe9xt/" + "z" * 500, "came as 'te\\xc3\\xa9xt/zzz"),
    ],
)
def test_what_is_not_json_is_refused(body, content_type, says):
    """The refusal tells where the JSON breaks off and what the sender called it."""
    rejected = refusal("id", request(body, content_type=content_type))
    assert (rejected.status, rejected.code) == (400, "malformed_json")
    assert says in rejected.detail
    assert len(rejected.detail) < 300


def test_refusals_do_not_quote_the_body():
    """Bodies are private."""
    for body in (b'{"password": hunter2', b"hunter2", b'"hunter2'):
        assert "hunter2" not in refusal("id", request(body)).detail


def test_json_is_parsed_once(monkeypatch):
    """Three expressions cost one parse, also when the body is broken."""
    calls = []
    loads = json.loads
    monkeypatch.setattr(json, "loads", lambda body: calls.append(body) or loads(body))
    for body in (b'{"id": "a"}', b"null", b"{"):
        parsed = request(body)
        for expression in ("id", "type", "a[0]"):
            compile_lenient(expression)(parsed)
    assert calls == [b'{"id": "a"}', b"null", b"{"]


def test_ids_in_headers():
    """A header is found in any letter case, and its value keeps every latin-1 character."""
    parsed = request(b"not json", ("x-event-ID", " caf\xe9 "), ("X-Blank", " "), ("X-Same", "a"))
    assert both("header:X-Event-Id", parsed) == "caf\xe9"
    assert both("header:X-Blank", parsed) is None
    assert both("header:X-Absent", parsed) is None


def test_repeated_headers():
    """A header may be repeated, but not contradict itself."""
    assert both("header:X-Id", request(b"", ("X-Id", "a"), ("x-id", "a"))) == "a"
    rejected = refusal("header:X-Id", request(b"", ("X-Id", "a"), ("x-id", "b")))
    assert (rejected.status, rejected.code) == (400, "ambiguous_header")


def test_functions():
    """A function sees the request and its answer follows the same rules."""
    parsed = request({"a": "1"}, ("X-B", "2"))
    assert both(lambda parsed: parsed.json()["a"] + parsed.header("x-b"), parsed) == "12"
    assert both(lambda parsed: None, parsed) is None
    assert refusal(lambda parsed: ["a"], parsed).code == "bad_event_id"
    assert refusal(lambda parsed: b"bytes", parsed).detail.endswith("got a value of type bytes")


def test_functions_that_raise():
    """The refusal names the type of a function's error and not its text."""
    rejected = refusal(lambda parsed: parsed.json()["hunter2"], request({}))
    assert (rejected.status, rejected.code) == (400, "bad_event_id")
    assert rejected.detail.endswith("failed with KeyError")


def test_functions_that_meet_bad_json():
    """A refusal that arises inside a function stays what it is."""
    assert refusal(lambda parsed: parsed.json(), request(b"{")).code == "malformed_json"


def test_a_jmespath_that_fails_on_the_body():
    """A JMESPath that does not fit the body is refused like a function that raises."""
    for expression, body in (("length(id)", {}), ("ceil(id)", b'{"id": NaN}')):
        assert refusal(expression, request(body)).code == "bad_event_id"


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "not a valid JMESPath"),
        ("a..b", "'a..b' is not a valid JMESPath at position 2"),
        ("a[", "at position"),
        ("a b", "at position 2"),
        ("a.#", "at position 2"),
        ("lenght(id)", "lenght"),
        ("a && [b.nope(c)]", "nope"),
        ("length(a, b)", "with 2 arguments"),
        ("join('-')", "with 1 arguments"),
        ("header:", "X-Event-Id"),
        ("header:X Id", "names no header"),
        ("header:X-Id\n", "names no header"),
        ("form:", "names no field"),
        ("unknown:x", "not a valid JMESPath"),
        (None, "NoneType"),
        (7, "int"),
    ],
)
def test_invalid_expressions(expression, says):
    """An expression that cannot work is refused when it is written, by name."""
    for build in (compile_extractor, compile_lenient, compile_time):
        with pytest.raises(ConfigError) as caught:
            build(expression)
        assert says in str(caught.value)


def test_async_functions_are_refused():
    """An async function would answer with a coroutine, so it is refused at once."""

    async def find(parsed):
        return "id"

    with pytest.raises(ConfigError, match="plain def"):
        compile_extractor(find)


def test_times():
    """A time may be a number, a fraction or text; whatever is odd is none."""
    parsed = request({"a": 1.5, "b": "2026-11-22T00:00:00Z", "c": []}, ("X-T", "1800000000"))
    assert compile_time("a")(parsed) == 1.5
    assert compile_time("b")(parsed) == 1795305600
    assert compile_time("header:X-T")(parsed) == 1800000000
    assert compile_time("c")(parsed) is None
    assert compile_time("a")(request(b"{")) is None
    assert compile_time(lambda parsed: 1 / 0)(parsed) is None


def test_compressed_json():
    """A gzip body is read like the JSON in it, whatever the case of its label."""
    for encoding in ("gzip", " GZip", "x-gzip"):
        parsed = request(gzip.compress(b'{"id": "evt_1"}', mtime=0), ("Content-Encoding", encoding))
        assert both("id", parsed) == "evt_1"
    assert both("id", request({"id": "evt_1"}, ("Content-Encoding", "identity"))) == "evt_1"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"id": "evt_1"}', "no gzip"),
        (zlib.compress(b'{"id": "evt_1"}'), "no gzip"),
        (gzip.compress(b'{"id": "evt_1"}', mtime=0)[:-4], "before its time"),
        (gzip.compress(b"{", mtime=0), "at line 1"),
        (gzip.compress(b'{"id": "evt_1"}', mtime=0) + gzip.compress(b" ", mtime=0), "more follows"),
        (b"", "empty"),
    ],
)
def test_what_cannot_be_unpacked(body, says):
    """A body that is no gzip or is cut off is refused like other malformed JSON."""
    rejected = refusal("id", request(body, ("Content-Encoding", "gzip")))
    assert (rejected.status, rejected.code) == (400, "malformed_json")
    assert says in rejected.detail


def test_what_unpacks_to_too_much():
    """A body that holds more than may be read is refused as too large."""
    rejected = refusal(
        "id",
        request(gzip.compress(bytes(17 * 1024 * 1024), mtime=0), ("Content-Encoding", "gzip")),
    )
    assert (rejected.status, rejected.code) == (413, "body_too_large")
    assert "more than 16777216 bytes" in rejected.detail
