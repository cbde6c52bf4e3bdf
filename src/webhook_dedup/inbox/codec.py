"""Deliveries as bytes: a JSON head beside the exact body."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _text
from typing import Any

from ..model import Delivery

__all__ = ["UnreadableDelivery", "decode_delivery", "encode_head", "number"]

_VERSION = 1


class UnreadableDelivery(ValueError):
    """A stored delivery cannot be read: corrupt, or written by a newer version."""


_ENCODE = json.JSONEncoder(separators=(",", ":"), default=str).encode
_ESCAPED = {byte for byte in range(256) if _text(chr(byte)) != f'"{chr(byte)}"'} - {ord('"')}
_CHANGED = bytes(byte ^ 1 if byte in _ESCAPED else byte for byte in range(256))
"""A table for ``translate``. It changes what JSON must escape, but for quotation marks."""


def encode_head(delivery: Delivery, received_at: str | None = None) -> bytes:
    """Return everything of a delivery but its id and its body.

    It is put together here: to have a dictionary encoded takes twice as long.

    Args:
        delivery: What is written.
        received_at: Its time as :func:`number` writes it, for a caller who needs that as well.
    """
    raw_path = delivery.raw_path
    # What an outer router made of the path may be anything; text is what a later run can have.
    path_params = _ENCODE(dict(delivery.path_params)) if delivery.path_params else "{}"
    head = (
        f'{{"v":{_VERSION},{_entrance(delivery.source, delivery.scheme, delivery.server)},'
        f'"method":{_text(delivery.method)},"path":{_text(delivery.path)},'
        f'"headers":{_headers(delivery.headers)},'
        f'"received_at":{received_at or number(delivery.received_at)},'
        f'"raw_path":{"null" if raw_path is None else _text(raw_path.decode("latin-1"))},'
        f'"root_path":{_text(delivery.root_path)},'
        f'"query_string":{_text(delivery.query_string.decode("latin-1"))},'
        f'"http_version":{_text(delivery.http_version)},"client":{_address(delivery.client)},'
        f'"path_params":{path_params}}}'
    )
    return head.encode()


def number(value: float) -> str:
    """Return a number as JSON has it, from which exactly this number is read."""
    return repr(value) if type(value) is float and math.isfinite(value) else _ENCODE(value)


@lru_cache(maxsize=64)  # a process knows few, and none of them is the sender's to choose
def _entrance(source: str, scheme: str, server: tuple[str, int | None] | None) -> str:
    return f'"source":{_text(source)},"scheme":{_text(scheme)},"server":{_address(server)}'


def _address(address: tuple[str, int | None] | None) -> str:
    if address is None:
        return "null"
    host, port = address
    if type(host) is str and type(port) is int:
        return f"[{_text(host)},{port}]"
    return _ENCODE([host, port])


def _headers(headers: Sequence[tuple[bytes, bytes]]) -> str:
    together = b'"],["'.join(map(b'","'.join, headers))
    # Most need no escape. One with a quotation mark has more of them than stand between the parts.
    quotes = 4 * len(headers) - 2
    if together.count(b'"') == quotes and together.translate(_CHANGED) == together:
        return f'[["{together.decode()}"]]'
    pairs = [
        f"[{_text(name.decode('latin-1'))},{_text(value.decode('latin-1'))}]"
        for name, value in headers
    ]
    return f"[{','.join(pairs)}]"


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
