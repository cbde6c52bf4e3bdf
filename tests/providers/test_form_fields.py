"""Ids in form bodies."""

import tracemalloc
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook_dedup.errors import RejectedDelivery
from webhook_dedup.providers import Parsed, compile_extractor, compile_lenient

URLENCODED = "application/x-www-form-urlencoded"


def form(body, content_type=URLENCODED):
    return Parsed([(b"Content-Type", content_type.encode("latin-1"))], body)


def multipart(*parts, end=b"--b--\r\n", boundary="b"):
    body = b"".join(b"--b\r\n" + head + b"\r\n\r\n" + data + b"\r\n" for head, data in parts)
    return form(body + end, f"multipart/form-data; boundary={boundary}")


def field(name):
    return b'Content-Disposition: form-data; name="' + name + b'"'


def find(parsed, name="id"):
    return compile_extractor(f"form:{name}")(parsed)


def refusal(parsed):
    assert compile_lenient("form:id")(parsed) is None
    with pytest.raises(RejectedDelivery) as caught:
        find(parsed)
    return caught.value.status, caught.value.code


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"id=evt_1", "evt_1"),
        (b"a=1&id=caf%C3%A9+1&b=2", "caf\xe9 1"),
        (b"id=&a=1", None),
        (b"id", None),
        (b"", None),
        (b"ID=1", None),
        (b"id=a&id=a", "a"),
        (b"id=a;b=2", "a;b=2"),
    ],
)
def test_urlencoded_fields(body, found):
    """A field is found by its exact name, decoded; blank and absent are none."""
    assert find(form(body)) == found
    assert find(form(body, f"{URLENCODED.upper()}; charset=UTF-8")) == found


PIECES = [
    *(b"a", b"%", b"4", b"=", b"+", b"&", b";", b"_", b"\0", b"\r\n", b"\xc3\xa4", b"\xc3", b"=3D"),
    *(b"%41", b"%C3", b"%a4", b"%C3%A4", b"%3d", b"%zz", b"%\n", b"%0D%0A", b"%25", b"%ed%a0%80"),
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))
def test_forms_are_read_as_by_urllib(body):
    """Every urlencoded body means what the standard library makes of it, and none raises else."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        assert refusal(form(body)) == (400, "malformed_form")
        return
    expected = {}
    for name, value in pairs:
        expected.setdefault(name, []).append(value)
    assert form(body).form() == expected


def test_escapes_take_no_memory_of_their_own():
    """A body of nothing but escapes, which anybody may send, takes a few times its size."""
    body = b"id=" + b"%41" * 500_000
    tracemalloc.start()
    try:
        assert form(body).form() == {"id": ["A" * 500_000]}
        assert tracemalloc.get_traced_memory()[1] < 8 * len(body)
    finally:
        tracemalloc.stop()
    assert refusal(form(b"id=" + b"%5b%" * 500_000)) == (400, "malformed_form")


def test_multipart_fields():
    """Text fields are found and uploaded files are not."""
    parsed = multipart(
        (field(b"id") + b"\r\nContent-Type: text/plain", "café\r\n-".encode()),
        (field(b"file") + b'; filename="x"', b"\xff\x00"),
        (b"content-disposition: form-data; name=bare", b"1"),
    )
    assert find(parsed) == "café\r\n-"
    assert find(parsed, "file") is None
    assert find(parsed, "bare") == "1"


def test_fields_that_contradict_themselves():
    """The same field twice with different values is refused."""
    assert refusal(form(b"id=a&id=b")) == (400, "ambiguous_field")
    assert refusal(multipart((field(b"id"), b"a"), (field(b"id"), b"b"))) == (
        400,
        "ambiguous_field",
    )


@pytest.mark.parametrize(
    "parsed",
    [
        form(b"id=%FF"),
        form(b"id=\xff"),
        form(b"&".join([b"a=1"] * 1001)),
        form(b"&" * 1_000_000),
        form(b"--b--\r\n", "multipart/form-data"),
        form(b"--b--\r\n", "multipart/form-data; boundary="),
        form(b"--b--\r\n", "multipart/form-data; boundary=" + "b" * 5000),
        form(b"", "multipart/form-data; boundary=b"),
        form(b"id=1", "multipart/form-data; boundary=b"),
        multipart((field(b"id"), b"1"), end=b""),
        multipart((field(b"id"), b"1"), end=b"--b"),
        multipart((field(b"id"), b"1"), boundary="c"),
        multipart((field(b"id"), b"\xff")),
        multipart((field(b"\xff"), b"1")),
        multipart((b"X-Other: 1", b"1")),
        multipart((b"Content-Disposition: form-data", b"1")),
        multipart((b"no colon", b"1")),
        multipart(*[(field(b"a"), b"1")] * 1001),
    ],
)
def test_malformed_forms(parsed):
    """Truncated, undecodable, nameless or excessive forms are refused."""
    assert refusal(parsed) == (400, "malformed_form")


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "", "\xff;;=\"'", "a/b;" * 99]
)
def test_other_content_types(content_type):
    """A form expression needs a form."""
    assert refusal(form(b"id=1", content_type)) == (415, "unsupported_media_type")


def test_a_missing_content_type():
    """A body of unknown type is no form."""
    assert refusal(Parsed([], b"id=1")) == (415, "unsupported_media_type")


def test_differing_content_types():
    """Two content types leave open which reader the sender meant."""
    headers = [(b"content-type", URLENCODED.encode()), (b"content-type", b"application/json")]
    assert refusal(Parsed(headers, b"id=1")) == (400, "ambiguous_header")
