"""Ids made of several values, alternatives, and what plain expressions cannot reach."""

import hashlib
import json
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webhook_dedup.errors import ConfigError, RejectedDelivery
from webhook_dedup.providers import (
    FirstOf,
    Parsed,
    compile_extractor,
    compile_items,
    compile_lenient,
    compile_time,
)
from webhook_dedup.providers.readers import BodyHash, FormJson, Hashed, JwtPayload, Outer

FORM = "application/x-www-form-urlencoded"


def request(body=b"", content_type="application/json", query=b"", **headers):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Parsed([(b"content-type", content_type.encode()), *pairs], raw, query=query)


def find(expression, parsed):
    return compile_extractor(expression)(parsed)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"a": "x", "b": "yy", "c": "z"}, "1:x,2:yy,1:z"),
        ({"a": "x", "b": "y"}, "1:x,1:y,-"),
        ({"a": 7, "b": "y"}, "1:7,1:y,-"),
        ({"a": "x", "c": "z"}, None),
        ({"a": "x", "b": " ", "c": "z"}, None),
        ({"c": "z"}, None),
        ({}, None),
    ],
)
def test_composites(body, found):
    """Parts are joined with their lengths; without a required one there is no id."""
    assert find(("a", "b", "c?"), request(body)) == found


def test_optional_parts_alone():
    """A composite of optional parts needs one of them."""
    assert find(("a?", "b?"), request({"b": "y"})) == "-,1:y"
    assert find(("a?", "b?"), request({})) is None


PARTS = st.lists(st.none() | st.text(min_size=1).filter(str.strip), min_size=3, max_size=3)


@settings(deadline=None)
@given(one=PARTS, other=PARTS)
def test_composites_never_meet(one, other):
    """Two composites are equal only if all of their parts are."""
    expression = ("a?", "b?", "c?")
    found = [
        find(expression, request(dict(zip("abc", parts, strict=True)))) for parts in (one, other)
    ]
    assert (found[0] == found[1]) == (one == other)


def test_composites_keep_the_rules_of_ids():
    """A part that is no text or integer is refused, and so is an id that is too long."""
    for body, code in (
        ({"a": ["x"], "b": "y"}, "bad_event_id"),
        ({"a": "x" * 1500, "b": "y" * 600}, "event_id_too_long"),
        (b"{", "malformed_json"),
    ):
        with pytest.raises(RejectedDelivery) as caught:
            find(("a", "b"), request(body))
        assert caught.value.code == code
        assert compile_lenient(("a", "b"))(request(body)) is None


def test_composites_of_all_kinds():
    """Headers, form fields and functions may be parts."""
    parsed = request(b"f=1", FORM, x_a="2")
    assert find(("form:f", "header:X-A", lambda _: "3"), parsed) == "1:1,1:2,1:3"
    assert find(("form:f", "header:X-B?"), parsed) == "1:1,-"


def test_the_first_that_finds_something():
    """Alternatives are tried in order; one that cannot be read at all finds nothing."""
    expression = FirstOf("id", ("a", "b"), "form:f")
    assert find(expression, request({"id": "x", "a": "1", "b": "2"})) == "x"
    assert find(expression, request({"a": "1", "b": "2"})) == "1:1,1:2"
    assert find(expression, request({"id": ["odd"], "a": "1", "b": "2"})) == "1:1,1:2"
    assert find(expression, request(b"f=1", FORM)) == "1"
    assert find(expression, request({"other": 1})) is None


def test_no_alternative_can_be_read():
    """When nothing can be read the refusal is that of the first alternative."""
    with pytest.raises(RejectedDelivery) as caught:
        find(FirstOf("id", "form:f"), request(b"{"))
    assert caught.value.code == "malformed_json"


def test_alternatives_for_times():
    """A time may stand in one of several places."""
    expression = FirstOf("header:X-Time", "time")
    assert compile_time(expression)(request({"time": 5}, x_time="7")) == 7
    assert compile_time(expression)(request({"time": "2026-11-22T00:00:00Z"})) == 1795305600


@pytest.mark.parametrize("expression", [(), FirstOf(), ("a", 7), FirstOf(None), ("a", "?"), ["a"]])
def test_invalid_composites(expression):
    """What cannot work is refused when it is written."""
    with pytest.raises(ConfigError):
        compile_extractor(expression)


def test_hashes():
    """A body hash is that of the exact bytes, a hash of a part that of its JSON."""
    assert find(BodyHash(), request(b"x")) == hashlib.sha256(b"x").hexdigest()
    assert find(BodyHash(), request(b"")) is None
    one, other = request(b'{"v": {"a": 1, "b": 2}}'), request(b'{"v":{"b":2,"a":1},"w":0}')
    assert find(Hashed("v"), one) == find(Hashed("v"), other)
    assert find(Hashed("v"), one) != find(Hashed("v"), request({"v": {"a": 1, "b": 3}}))
    assert find(Hashed("w"), one) is None


def test_json_in_a_form():
    """A JMESPath leads into JSON in a form field."""
    reader = FormJson("a.b", name="payload")
    assert find(reader, request(urlencode({"payload": '{"a": {"b": "x"}}'}).encode(), FORM)) == "x"
    assert find(reader, request(b"other=1", FORM)) is None
    for body, code in ((b"payload=%7B", "malformed_json"), (b"payload=1&payload=2", "ambiguous")):
        with pytest.raises(RejectedDelivery) as caught:
            find(reader, request(body, FORM))
        assert caught.value.code.startswith(code)


def test_the_claims_of_a_token():
    """The middle of a token in a header is found; what is no token has none."""
    assert find(JwtPayload("X-Token"), request(x_token="head.claims.signature")) == "claims"
    for token in ("", "a.b", "a.b.c.d", "..", "text"):
        assert find(JwtPayload("X-Token"), request(x_token=token)) is None
    assert find(JwtPayload("X-Token"), request()) is None


def test_what_lies_around_an_item():
    """An item knows the array element that holds it; a delivery by itself has none."""
    parsed = request({"entry": [{"id": "e", "changes": [{"v": 1}]}]})
    (item,) = compile_items("entry[*].changes[*]")(parsed)
    assert find(Outer("id"), item) == "e"
    assert find(Outer("id"), parsed) is None


@pytest.mark.parametrize("reader", [Hashed, Outer, lambda path: FormJson(path, name="f")])
def test_invalid_paths(reader):
    """A reader checks its JMESPath when it is written."""
    with pytest.raises(ConfigError, match="not a valid JMESPath"):
        reader("a..b")


def test_query_parameters():
    """Parameters are decoded; one that is repeated must not contradict itself."""
    parsed = request(query=b"a=1&b=%C3%A9+x&c=&a=1")
    assert parsed.query_value("a") == "1"
    assert parsed.query_value("b") == "é x"
    assert parsed.query_value("c") == ""
    assert parsed.query_value("d") is None
    assert parsed.query_values("a") == ["1", "1"]
    for query, code in (
        (b"a=1&a=2", "ambiguous_query"),
        (b"&" * 1000, "malformed_query"),
    ):
        with pytest.raises(RejectedDelivery) as caught:
            request(query=query).query_value("a")
        assert (caught.value.status, caught.value.code) == (400, code)


@settings(deadline=None)
@given(query=st.binary(max_size=200))
def test_any_query_can_be_asked(query):
    """Whatever stands in the query, asking for a parameter finds text, nothing or a refusal."""
    try:
        found = request(query=query).query_value("a")
    except RejectedDelivery:
        return
    assert found is None or isinstance(found, str)
