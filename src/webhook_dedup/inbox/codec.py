"""Deliveries as bytes: a JSON head beside the exact body."""

from __future__ import annotations

import json
from typing import Any

from ..model import Delivery

__all__ = ["UnreadableDelivery", "decode_delivery", "encode_head"]

_VERSION = 1


class UnreadableDelivery(ValueError):
    """A stored delivery cannot be read: corrupt, or written by a newer version."""


_ENCODE = json.JSONEncoder(separators=(",", ":"), default=str).encode


def encode_head(delivery: Delivery) -> bytes:
    """Return everything of a delivery but its id and its body."""
    head = {
        "v": _VERSION,
        "source": delivery.source,
        "method": delivery.method,
        "path": delivery.path,
        "headers": [
            [name.decode("latin-1"), value.decode("latin-1")] for name, value in delivery.headers
        ],
        "received_at": delivery.received_at,
        "raw_path": None if delivery.raw_path is None else delivery.raw_path.decode("latin-1"),
        "root_path": delivery.root_path,
        "query_string": delivery.query_string.decode("latin-1"),
        "scheme": delivery.scheme,
        "http_version": delivery.http_version,
        "client": delivery.client,
        "server": delivery.server,
        "path_params": dict(delivery.path_params),
    }
    # What an outer router made of the path may be anything; text is what a later run can have.
    return _ENCODE(head).encode()


def decode_delivery(delivery_id: str, head: bytes, body: bytes) -> Delivery:
    """Return the delivery that :func:`encode_head` was given.

    Raises:
        UnreadableDelivery: Names the delivery and what is wrong.
    """
    try:
        return _decode(delivery_id, json.loads(head), body)
    except UnreadableDelivery:
        raise
    except (LookupError, RecursionError, TypeError, AttributeError, ValueError) as exc:
        # Its type only: a message may quote the head, and with it secrets.
        name = type(exc).__name__
        raise UnreadableDelivery(f"stored delivery {delivery_id} is unreadable: {name}") from exc


def _decode(delivery_id: str, head: dict[str, Any], body: bytes) -> Delivery:
    if head["v"] != _VERSION:
        raise UnreadableDelivery(
            f"stored delivery {delivery_id} has format {head['v']!r}, this release reads {_VERSION}"
        )
    raw_path, client, server = head["raw_path"], head["client"], head["server"]
    return Delivery(
        id=delivery_id,
        source=head["source"],
        method=head["method"],
        path=head["path"],
        headers=tuple(
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in head["headers"]
        ),
        body=bytes(body),
        received_at=float(head["received_at"]),
        raw_path=None if raw_path is None else raw_path.encode("latin-1"),
        root_path=head["root_path"],
        query_string=head["query_string"].encode("latin-1"),
        scheme=head["scheme"],
        http_version=head["http_version"],
        client=None if client is None else (client[0], client[1]),
        server=None if server is None else (server[0], server[1]),
        path_params=head["path_params"],
    )
