"""A stored delivery comes back as it was, or is named as unreadable without being quoted."""

import json
import math
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

from webhook_dedup.inbox.codec import UnreadableDelivery, decode_delivery, encode_head, number
from webhook_dedup.model import Delivery

DELIVERY = Delivery(
    id="d1",
    source="shop",
    method="POST",
    path="/hooks/ü",
    headers=((b"x-id", b"1"), (b"x-id", b"2"), (b"authorization", b"secret \xff")),
    body=b"\x00\xff",
    received_at=1_700_000_000.25,
    raw_path=b"/hooks/%C3%BC",
    root_path="/app",
    query_string=b"a=%00&b=\xff",
    client=("127.0.0.1", 4711),
    server=("/run/app.sock", None),
    path_params={"tenant": "acme", "number": 7},
)


@pytest.mark.parametrize(
    "delivery", [DELIVERY, replace(DELIVERY, raw_path=None, client=None, server=None)]
)
def test_round_trip(delivery):
    """Every field comes back, repeated headers and odd bytes included."""
    assert decode_delivery("d1", encode_head(delivery), delivery.body) == delivery


TEXT = st.text(st.characters(exclude_categories=()))
RAW = st.binary(max_size=20)
ADDRESSES = st.none() | st.tuples(TEXT, st.none() | st.integers(0, 65535))


@given(
    delivery=st.builds(
        Delivery,
        id=st.just("d1"),
        source=TEXT,
        method=TEXT,
        path=TEXT,
        headers=st.lists(st.tuples(RAW, RAW)).map(tuple),
        body=RAW,
        received_at=st.floats(allow_nan=False),
        raw_path=st.none() | RAW,
        root_path=TEXT,
        query_string=RAW,
        scheme=TEXT,
        http_version=TEXT,
        client=ADDRESSES,
        server=ADDRESSES,
        path_params=st.dictionaries(TEXT, TEXT | st.integers()),
    )
)
def test_hostile_deliveries_round_trip(delivery):
    """Whatever a sender writes comes back, and cannot end the text it is written into."""
    head = encode_head(delivery)
    assert decode_delivery("d1", head, delivery.body) == delivery
    assert set(json.loads(head)) == {"v", *asdict(delivery)} - {"id", "body"}


@pytest.mark.parametrize(
    "odd", [*(bytes([byte]) for byte in range(256)), b'a","b', b'a"],["b', b'"', b'""', b"\\u0000"]
)
def test_odd_bytes_among_plain_headers(odd):
    """What JSON must escape is escaped wherever it stands, and joins or parts no headers."""
    delivery = replace(
        DELIVERY, headers=((b"x-plain", b"1"), (b"x-odd", odd), (odd, b"2"), (odd, odd), (b"", b""))
    )
    for headers in (delivery.headers, delivery.headers[1:2], delivery.headers[2:3]):
        delivery = replace(delivery, headers=headers)
        assert decode_delivery("d1", encode_head(delivery), delivery.body) == delivery


def test_written_time_is_taken():
    """A time that the caller has written already is the one that is read."""
    head = encode_head(DELIVERY, number(DELIVERY.received_at))
    assert head == encode_head(DELIVERY)
    assert decode_delivery("d1", head, DELIVERY.body) == DELIVERY


def test_odd_values():
    """What a server or a router gives in place of text or a number is written as JSON has it."""
    odd = replace(
        DELIVERY,
        received_at=math.nan,
        client=(None, "4711"),
        path_params={"file": PurePosixPath("a/b"), "more": [1, None]},
    )
    back = decode_delivery("d1", encode_head(odd), odd.body)
    assert math.isnan(back.received_at)
    assert back.client == (None, "4711")
    assert back.path_params == {"file": "a/b", "more": [1, None]}


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"null",
        b"{}",
        b"secret \xff",
        b"[" * 100_000,
        encode_head(DELIVERY).replace(b'"headers":[[', b'"headers":[[7,'),
    ],
)
def test_unreadable(head):
    """A head that is corrupt names its delivery and shows nothing of itself."""
    with pytest.raises(UnreadableDelivery, match="d1") as caught:
        decode_delivery("d1", head, b"")
    assert "secret" not in str(caught.value)


def test_newer_format():
    """A head of a later release says so."""
    head = encode_head(DELIVERY).replace(b'"v":1', b'"v":2')
    with pytest.raises(UnreadableDelivery, match="format 2, this release reads 1"):
        decode_delivery("d1", head, b"")
