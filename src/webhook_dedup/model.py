"""The values the library passes around: slotted, free of I/O, and never changed once made.

They are structs of ``msgspec``, which cost a third of a slotted dataclass to make. Those whose
fields hold nothing that could lead back to them (``gc=False``) are no work for the garbage
collector: every event makes ten. Change one with ``msgspec.structs.replace``.
"""

from __future__ import annotations

import enum
import os
import random
from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b
from typing import Any

from msgspec import Struct

__all__ = [
    "Attempt",
    "BatchItem",
    "Bid",
    "Claim",
    "Delivery",
    "Event",
    "Item",
    "Key",
    "Outcome",
    "Remembers",
    "Settlement",
    "as_text",
    "fingerprint_of",
    "new_id",
    "new_token",
]

_random = random.Random()  # noqa: S311 - nothing rests on its secrecy
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)  # or parent and child would make the same ids


def as_text(value: Struct) -> str:
    """Write a value as ``repr`` does, with those of its fields that it shows to ``rich``."""
    fields = ", ".join(f"{name}={field!r}" for name, field in value.__rich_repr__())
    return f"{type(value).__name__}({fields})"


class Outcome(enum.Enum):
    """What a store answers to a bid."""

    FRESH = "fresh"
    """The bidder holds the key now and must settle it."""
    IN_FLIGHT = "in_flight"
    """Another token holds the key under a live lease."""
    DUPLICATE = "duplicate"
    """The key is done and still remembered."""
    MISMATCH = "mismatch"
    """The key is held or done (see ``Claim.done``) under another fingerprint."""


class Remembers(enum.Flag):
    """What a store keeps beside the bare claim."""

    NOTHING = 0
    RESULT = enum.auto()
    """The result given at completion, returned with every later DUPLICATE."""
    FINGERPRINT = enum.auto()
    """The fingerprint of the first bid, so that another body under the same id is noticed."""
    FIRST_SEEN = enum.auto()
    """When the key was first claimed."""
    FORGET = enum.auto()
    """Single done keys, so that one can be forgotten."""
    ALL = RESULT | FINGERPRINT | FIRST_SEEN | FORGET


def new_id() -> str:
    """Make an id that nothing else has: 128 random bits as hexadecimal digits.

    It is distinct, not secret, and made without a system call, since every event takes several.
    """
    return _random.getrandbits(128).to_bytes(16, "big").hex()


def new_token(row: str = "") -> str:
    """Make a token no other claim has. A token made for an inbox row begins with its id.

    Tokens consist of letters, digits, ``-`` and ``.`` only, so stores may embed them in text.
    """
    return f"{row}.{new_id()}" if row else new_id()


def fingerprint_of(body: bytes) -> bytes:
    """Return the 16-byte BLAKE2b digest by which two bodies are compared."""
    return blake2b(body, digest_size=16).digest()


class Key(Struct, frozen=True, gc=False):
    """The identity of an event: who deduplicates, for which tenant, which event.

    ``str(key)`` joins the parts with their lengths, so that ``("a", "bc")`` and ``("ab", "c")``
    never meet.
    """

    scope: str
    event_id: str
    tenant: str = ""

    def __str__(self) -> str:
        scope, tenant = self.scope, self.tenant
        return f"{len(scope)}:{scope}:{len(tenant)}:{tenant}:{self.event_id}"


class Bid(Struct, frozen=True, gc=False):
    """A request to hold a key.

    Attributes:
        key: The key as text, up to any length, any characters, not blank.
        token: Unique to this bid; a bid repeated after a lost reply carries the same one.
        lease: Seconds the claim lives if its holder goes silent.
        fingerprint: Digest of what the event says, or ``None`` when bodies are not compared.
    """

    key: str
    token: str
    lease: float
    fingerprint: bytes | None = None


class Claim(Struct, frozen=True, gc=False):
    """A store's answer to a bid. It is the right to run only when ``outcome`` is FRESH.

    Attributes:
        key: The key that was bid for.
        token: The token of the bid that this answers.
        outcome: See :class:`Outcome`.
        fingerprint: The fingerprint of the bid, kept so that completion can store it.
        first_seen: Unix time of the key's first claim by the store's clock, if remembered.
        remaining: Seconds of lease left for a held key, of TTL left for a done one; never negative,
            0 when a store cannot tell.
        done: The key is done (DUPLICATE, or MISMATCH with a done event).
        holder: The token that holds or completed the key, if remembered.
        result: What the completing holder stored; ``None`` means nothing was stored.
    """

    key: str
    token: str
    outcome: Outcome
    fingerprint: bytes | None = None
    first_seen: float | None = None
    remaining: float = 0.0
    done: bool = False
    holder: str | None = None
    result: bytes | None = None

    @property
    def fresh(self) -> bool:
        """Whether the bidder holds the key."""
        return self.outcome is Outcome.FRESH


class Settlement(Struct, frozen=True, gc=False):
    """A request to mark a held claim done and remember it for ``ttl`` seconds."""

    claim: Claim
    ttl: float
    result: bytes | None = None

    @property
    def key(self) -> str:
        """The key of the claim."""
        return self.claim.key


class Delivery(Struct, frozen=True, gc=False):
    """One HTTP arrival, complete enough to be run again in another process.

    Attributes:
        id: Made by the accepting process; also the inbox row id.
        source: Name of the source that accepted it.
        method, path, raw_path, root_path, query_string, scheme, http_version, client, server:
            As in the ASGI HTTP scope.
        headers: Raw header pairs in the order they came.
        body: The exact bytes.
        received_at: Unix time of arrival.
        path_params: What outer routers took from the path; text and numbers.
    """

    id: str
    source: str
    method: str
    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    received_at: float
    raw_path: bytes | None = None
    root_path: str = ""
    query_string: bytes = b""
    scheme: str = "http"
    http_version: str = "1.1"
    client: tuple[str, int] | None = None
    server: tuple[str, int | None] | None = None
    path_params: Mapping[str, Any] = {}


class Event(Struct, frozen=True):
    """What a delivery announces.

    Attributes:
        key: Its identity, or ``None`` when the policy runs deliveries that have no id.
        source: Name of the source, or the qualified name of the decorated function.
        id: The provider's event id.
        type: The provider's event type, if it names one.
        occurred_at: Unix time the provider says the event happened, if it says so.
        fingerprint: Digest of the exact body, for an item of a batch that of the item.
        delivery: The arrival that brought it; ``None`` outside HTTP.
        subject: What the event is about: a thread, an account; if the source says where it is.
        items: From a source whose deliveries may bring several events, those that are to be run
            now. Of a delivery that brings one, this event is that item's; of one that brings more
            it stands for all of them, and its ``id`` is made from theirs.
    """

    key: Key | None
    source: str
    id: str
    type: str | None = None
    occurred_at: float | None = None
    fingerprint: bytes | None = None
    delivery: Delivery | None = None
    subject: str | None = None
    items: tuple[BatchItem, ...] = ()


async def _nothing_held() -> None:
    """Settle an item that has no claim."""


class BatchItem(Struct, frozen=True, eq=False):
    """One event of a delivery that may bring several.

    Attributes:
        event: The item's own event.
        value: The item's JSON.
        index: Its position in the delivery.
        settle: What :meth:`done` does.
    """

    event: Event
    value: Any
    index: int
    settle: Callable[[], Awaitable[None]] = _nothing_held

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Show where it stands and not what it holds, which belongs in no log."""
        return [("event", self.event), ("index", self.index)]

    def __repr__(self) -> str:
        return as_text(self)

    async def done(self) -> None:
        """Mark this item done now: it does not run again, whatever becomes of the others.

        Raises:
            LeaseLost: Another holder has the item now.
            StoreUnavailable: The store was away until this process shut down.
        """
        await self.settle()


class Attempt(Struct, frozen=True, gc=False):
    """One run of a handler that did not end well.

    Attributes:
        at: Unix time at which it began.
        where: Host and process that ran it.
        duration: Seconds it ran.
        error: One line; never a secret. If the handler answered that it failed, the beginning of
            the answer's body is in it, beside the delivery's own, and in no log.
    """

    at: float
    where: str
    duration: float
    error: str


class Item(Struct, frozen=True, gc=False):
    """An accepted delivery in an inbox, held by whoever knows ``token``.

    Attributes:
        id: Made by the caller of ``put``; the delivery's id.
        token: Fencing token of the present holder.
        delivery: What was accepted.
        key: The event's key as text, empty where it has none.
        event_id: The provider's event id, for people.
        attempts: Handler runs begun so far.
        deferred: Whether a deferral to another holder was already recorded.
        history: Every failed attempt, oldest first.
        dead: Whether it is a dead letter.
        cut_off: Of the runs begun, those that never ended, since it was last queued.
    """

    id: str
    token: str
    delivery: Delivery
    attempts: int = 0
    deferred: bool = False
    key: str = ""
    event_id: str = ""
    history: tuple[Attempt, ...] = ()
    dead: bool = False
    cut_off: int = 0
