"""A stored delivery comes back as it was, or is named as unreadable without being quoted."""

from dataclasses import replace

import pytest

from webhook_dedup.inbox.codec import UnreadableDelivery, decode_delivery, encode_head
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
