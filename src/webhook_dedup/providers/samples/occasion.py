"""What the samples are made of: one attempt to deliver one event, and what a provider says then."""

from __future__ import annotations

import datetime as dt
import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Occasion", "Sample"]

_DAY = 86_400
_NAMESPACE = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")


@dataclass(frozen=True, slots=True)
class Occasion:
    """One attempt to deliver one event.

    Attributes:
        event: Which event, as text of the caller's choice.
        attempt: Counted from 1.
        now: Unix time of the first attempt.
    """

    event: str
    attempt: int
    now: float

    @property
    def number(self) -> int:
        """The event as a number, for providers that count."""
        return int(self.event) if self.event.isdecimal() else zlib.crc32(self.event.encode())

    @property
    def uuid(self) -> str:
        """The event as a UUID."""
        return self.named_uuid("event")

    @property
    def attempt_uuid(self) -> str:
        """A UUID that no other attempt has."""
        return self.named_uuid(f"attempt {self.attempt}")

    @property
    def happened(self) -> int:
        """When the event happened: the same for all of its attempts on one day."""
        return int(self.now // _DAY * _DAY)

    @property
    def happened_iso(self) -> str:
        """The same in RFC 3339."""
        return f"{dt.datetime.fromtimestamp(self.happened, dt.timezone.utc):%Y-%m-%dT%H:%M:%S}Z"

    @property
    def sent(self) -> float:
        """When this attempt is made."""
        return self.now + self.attempt - 1

    def named_uuid(self, purpose: str) -> str:
        """Return a UUID for one purpose of this event."""
        return str(uuid.uuid5(_NAMESPACE, f"{purpose} of {self.event}"))


def _no_headers(_: Occasion) -> dict[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Sample:
    """A small genuine-looking delivery of one provider.

    Two events of it have in common what a careless key would be made of.

    Attributes:
        event: Makes what a delivery says of one event: JSON, or the fields of a form.
        headers: Makes the headers, apart from those of the signature.
        batch: Makes the JSON or form of a delivery of several events; ``None`` if each comes alone.
        form: The body is a form.
        content_type: Of the body, where it is neither a form nor plain JSON.
        ending: What stands behind the JSON.
        sent: Unix time of an attempt, where it is not a second after the one before.
    """

    event: Callable[[Occasion], Any]
    headers: Callable[[Occasion], Mapping[str, str]] = _no_headers
    batch: Callable[[Sequence[Any], Occasion], Any] | None = None
    form: bool = False
    content_type: str = "application/json"
    ending: bytes = b""
    sent: Callable[[Occasion], float] = lambda at: at.sent
