"""Handshakes: how providers make sure that an endpoint is willing, answered before any claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .parsed import Parsed

__all__ = ["Handshake", "Reply"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handshake is answered with.

    Attributes:
        status: The HTTP status.
        body: The exact body.
        content_type: Of the body; no header is sent if empty.
        headers: More headers, as text.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class Handshake(Protocol):
    """How one family of providers asks.

    Attributes:
        methods: HTTP methods it comes with, beside or instead of those that carry deliveries.
        signed: Whether it is signed like a delivery, so that it is answered only after the
            signature was verified.
    """

    methods: frozenset[str]
    signed: bool

    def answer(self, request: Parsed, secrets: Sequence[bytes]) -> Reply | None:
        """Return the reply if ``request`` is a handshake, ``None`` if it is a delivery.

        Raises:
            RejectedDelivery: It is a handshake that must not be answered.
        """
