"""What a handshake does, and what it is answered with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from .parsed import Parsed

__all__ = ["Handshake", "Reply", "TokenHandshake", "VisitingHandshake"]


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

    One that compares a token which the user chose is a :class:`TokenHandshake`, one that needs an
    outgoing request a :class:`VisitingHandshake`.
    """

    @property
    def methods(self) -> frozenset[str]:
        """HTTP methods it comes with, beside or instead of those that carry deliveries."""

    @property
    def signed(self) -> bool:
        """Whether it is signed like a delivery, and answered only after that was verified."""

    def answer(self, request: Parsed, secrets: Sequence[bytes]) -> Reply | None:
        """Return the reply if ``request`` is a handshake, ``None`` if it is a delivery.

        Raises:
            RejectedDelivery: It is a handshake that must not be answered.
        """


@runtime_checkable
class TokenHandshake(Handshake, Protocol):
    """A handshake that proves itself by a token beside the secret."""

    def with_token(self, token: str) -> Handshake:
        """Return a copy that expects this token. ``Source(verify_token=…)`` calls it."""


@runtime_checkable
class VisitingHandshake(Handshake, Protocol):
    """A handshake that is completed by a request to the provider, made before it is answered."""

    def visits(self, request: Parsed) -> bool:
        """Whether ``request`` asks for a visit that this source wants to make."""

    def visit(self, request: Parsed) -> None:
        """Make it. Blocks, so the middleware calls it in a thread.

        Raises:
            RejectedDelivery: The address is not the provider's (400), or it cannot be reached
                now (503).
        """
