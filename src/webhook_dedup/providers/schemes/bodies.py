"""Proofs of origin that stand in the body: Mailgun's and Microsoft Graph's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from ...errors import RejectedDelivery
from ..parsed import Parsed
from .digests import any_match, hmac_digest, is_one_of
from .keys import exact_key
from .options import check_tolerance
from .reading import form_fields, is_unix_time, json_body, utf8
from .refusals import check_digest, check_time, malformed, mismatch, missing

__all__ = ["GraphClientState", "MailgunSignature"]

_PARTS = ("timestamp", "token", "signature")


@dataclass(frozen=True, slots=True, kw_only=True)
class MailgunSignature:
    """HMAC-SHA256 over a time and a token, in ``signature`` of the JSON body or in form fields.

    **The body is not covered**: whoever sees one delivery can put any other body under its
    signature, for as long as the time is within the tolerance. The token should be (part of) the
    event's id, and be remembered for that long.

    Attributes:
        tolerance: How many seconds the time may lie in the past or in the future; ``None`` for
            any. The default outlasts the eight hours of retries, since it is not documented
            whether these sign a new time; Mailgun's own library allows 300 s.
    """

    tolerance: float | None = 12 * 3600.0

    def __post_init__(self) -> None:
        check_tolerance(self.tolerance)

    def load_secret(self, secret: str | bytes) -> bytes:
        return exact_key(secret)

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:
        stamp, token, candidate = _proof(message)
        if not is_unix_time(stamp):
            raise malformed("timestamp in the body must be a unix time")
        check_digest(candidate, "signature in the body", "sha256", "hex")
        if not any_match([candidate], (_digest(secret, stamp, token) for secret in secrets)):
            raise mismatch("signature in the body", "what it covers")
        check_time(int(stamp), now, self.tolerance)

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:  # noqa: ARG002 - the body holds it
        return {}

    def seal(self, message: Parsed, secret: bytes, now: float) -> bytes:
        """As the protocol says; the body's token is kept, or made of the body."""
        form = None if _is_json(message) else form_fields(message)
        body = json_body(message) if form is None else {}
        if not isinstance(body, dict):
            raise malformed("a Mailgun body is a JSON object or a form")
        sent = body.get("signature") if form is None else {k: v[0] for k, v in form.items()}
        token = sent.get("token") if isinstance(sent, dict) else None
        token = token or hashlib.sha256(message.body).hexdigest()[:50]
        stamp = str(int(now))
        digest = _digest(secret, stamp.encode(), token.encode()).decode()
        proof = {"timestamp": stamp, "token": token, "signature": digest}
        if form is None:
            return json.dumps({**body, "signature": proof}).encode()
        return urlencode({**form, **proof}, doseq=True).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphClientState:
    """A shared secret in each notification of the body, as ``clientState``.

    Nothing is signed. The tokens of notifications with resource data (``validationTokens``) are
    left to the handler.
    """

    def load_secret(self, secret: str | bytes) -> bytes:
        return exact_key(secret)

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:  # noqa: ARG002 - no time is sent
        for item in _notifications(json_body(message)):
            state = item.get("clientState")
            if state is None:
                raise missing("a notification has no clientState")
            if not isinstance(state, str):
                raise malformed("clientState must be text")
            if not is_one_of(utf8(state, "clientState"), secrets):
                raise mismatch("clientState of a notification", "what was agreed")

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:  # noqa: ARG002 - the body holds it
        return {}

    def seal(self, message: Parsed, secret: bytes, now: float) -> bytes:  # noqa: ARG002 - no time is sent
        body = json_body(message)
        for item in _notifications(body):
            item["clientState"] = secret.decode()
        return json.dumps(body).encode()


def _proof(message: Parsed) -> list[bytes]:
    if _is_json(message):
        body = json_body(message)
        sent = body.get("signature") if isinstance(body, dict) else None
        found = sent if isinstance(sent, dict) else {}
        values = [found.get(name) for name in _PARTS]
    else:
        form = form_fields(message)
        _check_no_json(message)
        values = [_only_text(form.get(name, [])) for name in _PARTS]
    if None in values:
        raise missing(f"the body has no {', '.join(_PARTS)}")
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) != len(_PARTS):
        raise malformed(f"{', '.join(_PARTS)} in the body must be text")
    return [utf8(text, "the signature in the body") for text in texts]


def _check_no_json(message: Parsed) -> None:
    """Refuse a form that is JSON, too: the event's id would be read where nothing was verified."""
    try:
        message.json()
    except RejectedDelivery:
        return
    raise malformed("the body is a form and JSON at once")


def _only_text(values: list[str]) -> str | None:
    if len(set(values)) > 1:
        raise malformed("a field of the signature came with different values")
    return values[0] if values else None


def _is_json(message: Parsed) -> bool:
    kind = message.content_type.lower()
    return not kind.startswith(("application/x-www-form-urlencoded", "multipart/form-data"))


def _digest(secret: bytes, stamp: bytes, token: bytes) -> bytes:
    return hmac_digest(secret, stamp + token, "sha256", "hex")


def _notifications(body: Any) -> list[dict[str, Any]]:
    items = body.get("value") if isinstance(body, dict) else None
    if not isinstance(items, list) or not items:
        raise missing("the body has no notifications as value")
    if not all(isinstance(item, dict) for item in items):
        raise malformed("a notification is no JSON object")
    return items
