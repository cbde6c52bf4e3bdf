"""Deliveries that carry several events: their items, and bodies with some of them only."""

import gzip
import itertools
import json
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webhook_dedup.errors import ConfigError, RejectedDelivery
from webhook_dedup.model import fingerprint_of
from webhook_dedup.providers import (
    Parsed,
    batches,
    compile_extractor,
    compile_items,
    compile_subset,
    find_preset,
)
from webhook_dedup.providers.readers import Outer

FORM = "application/x-www-form-urlencoded"
META = find_preset("meta").items


def request(body, content_type="application/json"):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Parsed([(b"content-type", content_type.encode()), (b"X-A", b"1")], raw, url="https://u")


def values(expression, parsed):
    return [item.json() for item in compile_items(expression)(parsed)]


def subset(expression, parsed, *kept):
    return json.loads(compile_subset(expression)(parsed, kept))


@pytest.mark.parametrize(
    ("expression", "body", "found"),
    [
        ("@", [{"id": 1}, {"id": 2}], [{"id": 1}, {"id": 2}]),
        ("[*]", [1, None, "x"], [1, None, "x"]),
        ("data.events", {"data": {"events": [1, 2]}}, [1, 2]),
        ("data.events[*]", {"data": {"events": [1, 2]}}, [1, 2]),
        ("a[*].b", {"a": [{"b": 1}, {"c": 2}, {"b": 3}]}, [1, 3]),
        (("a[*].b", "a[*]"), {"a": [{"b": 1}, {"c": 2}]}, [1, {"c": 2}]),
        ("@", [], []),
        ("data.events", {"data": {"events": []}}, []),
        ("a[*].b[*]", {"a": [{"b": []}]}, []),
        ("a[*].b[*]", {"a": [{"b": [1]}, {"b": []}, {"b": [2, 3]}]}, [1, 2, 3]),
    ],
)
def test_items(expression, body, found):
    """Items come in the order of the body, however deep the arrays lie."""
    assert values(expression, request(body)) == found


@pytest.mark.parametrize("body", [{"id": 1}, "text", None, b"not json", b"", {"data": 1}, [[]]])
def test_what_is_no_batch_is_its_own_item(body):
    """A delivery of another shape is not dropped: it is one event, found in the whole of it."""
    parsed = request(body)
    assert compile_items("data.events")(parsed) == [parsed]
    assert compile_subset("data.events")(parsed, [0]) == parsed.body


def test_an_item_is_read_like_a_request():
    """Expressions read the item; headers, URL and query are those of the delivery."""
    parsed = request([{"id": "a", "n": {"x": 1}}])
    (item,) = compile_items("@")(parsed)
    assert compile_extractor(("id", "n.x", "header:x-a"))(item) == "1:a,1:1,1:1"
    assert (item.method, item.url, item.query) == (parsed.method, parsed.url, parsed.query)


def test_an_item_has_one_fingerprint():
    """Two copies of an item are compared without regard to the order of keys or the spacing."""
    first, second = request(b'[{"a": 1,  "b": "\xc3\xa9"}]'), request(b'[{"b":"\\u00e9","a":1}]')
    (one,), (other,) = compile_items("@")(first), compile_items("@")(second)
    assert fingerprint_of(one.body) == fingerprint_of(other.body)
    (third,) = compile_items("@")(request([{"a": 1, "b": "e"}]))
    assert fingerprint_of(third.body) != fingerprint_of(one.body)


def test_too_many_items_are_not_all_looked_at():
    """The search ends with the first item too many, whatever else the body holds."""
    with pytest.raises(RejectedDelivery):
        batches._few(itertools.repeat(()))


def test_what_items_share_is_read_once():
    """Headers and outer elements are gone through once, not for each of the items they hold."""

    class Counted(list):
        rounds = 0

        def __iter__(self):
            Counted.rounds += 1
            return super().__iter__()

    body = json.dumps({"entry": [{"id": "1", "messaging": [{"n": n} for n in range(100)]}]})
    parsed = Parsed(Counted([(b"x-a", b"1")]), body.encode())
    outer, header = Outer("to_string(id)"), compile_extractor("header:X-A")
    searches = []
    object.__setattr__(outer, "_search", lambda found: searches.append(found) or found["id"])
    found = [(outer(item), header(item)) for item in compile_items(META)(parsed)]
    assert found == [("1", "1")] * 100
    assert (len(searches), Counted.rounds) == (1, 1)


def test_too_many_items():
    """A delivery has at most 10,000 items."""
    assert len(compile_items("@")(request([0] * 10_000))) == 10_000
    for compiled in (compile_items("@"), lambda parsed: compile_subset("@")(parsed, [0])):
        with pytest.raises(RejectedDelivery) as caught:
            compiled(request([0] * 10_001))
        assert (caught.value.status, caught.value.code) == (413, "too_many_items")


def test_a_subset_of_an_array():
    """The body holds the items that are kept, and the rest as it was."""
    body = {"id": "hook", "data": {"events": [{"n": 0}, {"n": 1}, {"n": 2}], "more": True}}
    assert subset("data.events", request(body), 0, 2) == {
        "id": "hook",
        "data": {"events": [{"n": 0}, {"n": 2}], "more": True},
    }
    assert subset("@", request([1, 2, 3]), 1) == [2]


def test_a_subset_leaves_no_empty_shells():
    """What held only items that are gone goes with them."""
    items = find_preset("adyen").items
    body = {"notificationItems": [{"NotificationRequestItem": {"n": n}} for n in range(3)]}
    assert subset(items, request(body), 1) == {
        "notificationItems": [{"NotificationRequestItem": {"n": 1}}]
    }


def test_a_subset_of_a_compressed_body():
    """What came compressed is carried on compressed."""
    packed = gzip.compress(b"[1, 2, 3]")
    parsed = Parsed([(b"content-encoding", b"gzip")], packed)
    body = compile_subset("@")(parsed, [1])
    assert json.loads(gzip.decompress(body)) == [2]


META_BODY = {
    "object": "whatsapp_business_account",
    "entry": [
        {
            "id": "1",
            "changes": [
                {
                    "field": "messages",
                    "value": {
                        "contacts": [{"wa_id": "x"}],
                        "messages": [{"id": "a"}, {"id": "b"}],
                        "statuses": [{"id": "a", "status": "read"}],
                    },
                },
                {"field": "account_update", "value": {"event": "VERIFIED"}},
            ],
        },
        {"id": "2", "messaging": [{"message": {"mid": "m"}}]},
        {"id": "3", "time": 5, "changed_fields": ["photos"]},
    ],
}


def test_items_of_meta():
    """Messages and statuses count one by one; changes and entries without them by themselves."""
    found = values(META, request(META_BODY))
    assert found[:3] == [{"id": "a"}, {"id": "b"}, {"id": "a", "status": "read"}]
    assert [sorted(item) for item in found[3:]] == [
        ["field", "value"],
        ["message"],
        ["changed_fields", "id", "time"],
    ]
    outer = [item.outer["id"] for item in compile_items(META)(request(META_BODY))]
    assert outer == ["1", "1", "1", "1", "2", "3"]


def test_a_subset_of_meta():
    """Of nested arrays only the branches stay that lead to something kept."""
    kept = subset(META, request(META_BODY), 1, 4)
    value = {"contacts": [{"wa_id": "x"}], "messages": [{"id": "b"}]}
    assert kept["entry"] == [
        {"id": "1", "changes": [{"field": "messages", "value": value}]},
        META_BODY["entry"][1],
    ]
    assert subset(META, request(META_BODY), *range(6)) == META_BODY


def test_items_in_a_form_field():
    """JSON in a form field is found, and written back beside the other fields."""
    expression = find_preset("mandrill").items
    parsed = request(urlencode({"a": "1 2", "mandrill_events": '[{"n":0},{"n":1}]'}).encode(), FORM)
    assert values(expression, parsed) == [{"n": 0}, {"n": 1}]
    fields = parse_qs(compile_subset(expression)(parsed, [1]).decode())
    assert fields == {"a": ["1 2"], "mandrill_events": ['[{"n":1}]']}
    (item, _) = compile_items(expression)(parsed)
    assert compile_extractor("form:a")(item) == "1 2"


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"mandrill_events=%5B", FORM, "malformed_json"),
        (b"mandrill_events=%5B%5D&mandrill_events=%5B1%5D", FORM, "ambiguous_field"),
        (b"[]", "application/json", "unsupported_media_type"),
    ],
)
def test_a_form_that_cannot_be_read(body, content_type, code):
    """A form whose field is no JSON, stands twice or is not there at all is refused."""
    with pytest.raises(RejectedDelivery) as caught:
        compile_items("form:mandrill_events:@")(request(body, content_type))
    assert caught.value.code == code


def test_only_one_media_type_is_a_batch():
    """An array is the data of one event unless its media type says that it is a batch."""
    expression = find_preset("cloudevents").items
    batch = "Application/CloudEvents-Batch+JSON; charset=utf-8"
    assert values(expression, request([1, 2], batch)) == [1, 2]
    single = request([1, 2])
    assert compile_items(expression)(single) == [single]


@pytest.mark.parametrize(
    "expression",
    ["", "a..b", "a[0]", "a[]", "length(@)", ".a", "a.", "form:x", "form::@", "x:@", ("a", 1), ()],
)
def test_invalid_items(expression):
    """What is no path to items is refused when it is written."""
    for build in (compile_items, compile_subset):
        with pytest.raises(ConfigError):
            build(expression)


def test_deep_json():
    """Items nested deeper than can be written are refused like other JSON that is too deep."""
    deep = b"[" * 900 + b"]" * 900
    for body in (b"[" + deep + b"]", b"[" * 100_000):
        try:
            items = compile_items("@")(request(body))
        except RejectedDelivery as rejected:
            assert rejected.code == "malformed_json"  # noqa: PT017 - either way is right
        else:
            assert len(items) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "b", "id"]), inner, max_size=3)
    ),
    max_leaves=30,
)


@settings(deadline=None)
@given(body=JSON, data=st.data())
def test_a_subset_holds_what_was_kept(body, data):
    """Whatever the body, the items of a subset are the items that were kept, in their order."""
    for path in ("@", "a", "a[*].b", ("a[*].b[*]", "a[*].id", "a[*]"), ("[*].a[*]", "[*]")):
        parsed = request(body)
        found = compile_items(path)(parsed)
        if not found or found == [parsed]:
            continue
        kept = sorted(data.draw(st.sets(st.sampled_from(range(len(found))), min_size=1)))
        again = compile_items(path)(request(compile_subset(path)(parsed, kept)))
        assert [item.body for item in again] == [found[index].body for index in kept]
