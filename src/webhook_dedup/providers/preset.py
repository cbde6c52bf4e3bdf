"""The facts about one provider, as a row."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from ..policy import Ack
from .batches import Items
from .extract import Expression
from .handshakes import Handshake
from .schemes import SignatureScheme

__all__ = ["Preset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A provider's facts as a row.

    Expressions are ``"header:Name"``, ``"form:field"`` or a JMESPath into the JSON body; several
    in a tuple make one composite value, of which parts that end in ``?`` may be missing. In a row
    with ``items`` the JMESPaths read one item.

    Attributes:
        name: What users write in ``Source("…")``.
        title: The provider's own name.
        event_id: Expression for the event's id; ``None`` means that the user must give one.
        items: Where the events of a batch are (see ``compile_items``); ``None`` if each delivery
            brings one event.
        handshake: How it makes sure that the endpoint is willing; ``None`` if it does not.
        event_type: Expression for the kind of event.
        occurred_at: Expression for the event's own time (unix seconds or RFC 3339).
        subject: Expression for what the event is about: a thread, an account.
        scheme: How it signs; ``None`` if it does not.
        secret_optional: Deliveries may come unsigned, so that a source without a secret is allowed.
        secret_format: What its secret looks like, one line for people.
        horizon: Seconds for which it retries by itself; 0 if it does not, or if nobody knows.
        deadline: Seconds in which it expects its answer; 0 if nobody knows.
        replay: Seconds for which a person can have it send an event again; 0 as above.
        remember: Suggested TTL in seconds.
        ack: Default order of acknowledgement and handler.
        ack_status: Status that it takes for success.
        ack_body: Body of the acknowledgement.
        ack_content_type: Content type of that body.
        retry_status: Status that makes it send the delivery again.
        max_body: Bytes of its largest delivery where that exceeds the policy's default.
        docs: Where it documents its webhooks.
        checked: When the facts were last compared with the documentation.
        unverified: Facts for which no first-hand source was read.
        notes: What a user should know about the id or the signature.
    """

    name: str
    title: str
    event_id: Expression | None
    checked: dt.date
    items: Items | None = None
    handshake: Handshake | None = None
    event_type: Expression | None = None
    occurred_at: Expression | None = None
    subject: Expression | None = None
    scheme: SignatureScheme | None = None
    secret_optional: bool = False
    secret_format: str = ""
    horizon: float = 0
    deadline: float = 0
    replay: float = 0
    remember: float = 48 * 3600
    ack: Ack = "first"
    ack_status: int = 200
    ack_body: bytes = b'{"received": true}'
    ack_content_type: str = "application/json"
    retry_status: int = 503
    max_body: int | None = None
    docs: str = ""
    unverified: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
