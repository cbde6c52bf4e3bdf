"""Deliveries as bytes: a JSON head beside the exact body."""

from __future__ import annotations

import json
import math
from json.encoder import encode_basestring_ascii as _text
from typing import Any

from ..model import Delivery

__all__ = ["UnreadableDelivery", "decode_delivery", "encode_head"]

_VERSION = 1


class UnreadableDelivery(ValueError):
    """A stored delivery cannot be read: corrupt, or written by a newer version."""


_ENCODE = json.JSONEncoder(separators=(",", ":"), default=str).encode


def encode_head(delivery: Delivery) -> bytes:
    """Return everything of a delivery but its id and its body.

    It is put together here: to have a dictionary encoded takes twice as long.
    """
    raw_path = delivery.raw_path
    headers = ",".join(
        [
            f"[{_text(name.decode('latin-1'))},{_text(value.decode('latin-1'))}]"
            for name, value in delivery.headers
        ]
    )
    # What an outer router made of the path may be anything; text is what a later run can have.
    path_params = _ENCODE(dict(delivery.path_params)) if delivery.path_params else "{}"
    head = (
        f'{{"v":{_VERSION},"source":{_text(delivery.source)},"method":{_text(delivery.method)},'
        f'"path":{_text(delivery.path)},"headers":[{headers}],'
        f'"received_at":{_atom(delivery.received_at)},'
        f'"raw_path":{"null" if raw_path is None else _text(raw_path.decode("latin-1"))},'
        f'"root_path":{_text(delivery.root_path)},'
        f'"query_string":{_text(delivery.query_string.decode("latin-1"))},'
        f'"scheme":{_text(delivery.scheme)},"http_version":{_text(delivery.http_version)},'
        f'"client":{_address(delivery.client)},"server":{_address(delivery.server)},'
        f'"path_params":{path_params}}}'
    )
    return head.encode()


def _address(address: tuple[str, int | None] | None) -> str:
    return "null" if address is None else f"[{_atom(address[0])},{_atom(address[1])}]"


def _atom(value: object) -> str:
    if type(value) is str:
        return _text(value)
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return repr(value)
    return _ENCODE(value)


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
