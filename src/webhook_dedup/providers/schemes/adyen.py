"""Adyen: https://docs.adyen.com/development-resources/webhooks/verify-hmac-signatures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..parsed import Parsed
from .digests import any_match, hmac_digest
from .hmacs import HmacSignature
from .keys import hex_key
from .reading import json_body, utf8
from .refusals import check_digest, malformed, mismatch, missing

__all__ = ["AdyenSignature"]

_SIGNED = (
    "pspReference",
    "originalReference",
    "merchantAccountCode",
    "merchantReference",
    "amount.value",
    "amount.currency",
    "eventCode",
    "success",
)
_CHOSEN_BY_MERCHANTS = ("merchantAccountCode", "merchantReference")
_WHOLE_BODY = HmacSignature(header="HmacSignature", encoding="base64", key="hex")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdyenSignature:
    """HMAC-SHA256 with a key written in hex: in each item of the body, or in a header.

    Payment webhooks sign some fields of each item (``additionalData.hmacSignature``), and every
    item must be signed. Those of banking and management sign the raw body in ``HmacSignature``.

    **What is not among the signed fields of an item is not covered**, its reason and the rest of
    ``additionalData`` included.
    """

    def load_secret(self, secret: str | bytes) -> bytes:
        return hex_key(secret, "the HMAC key as Adyen shows it, in hex digits")

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:
        if message.header_values(_WHOLE_BODY.header):
            _WHOLE_BODY.verify(message, secrets, now)
            return
        for item in _items(json_body(message)):
            candidate = _candidate(item)
            signed = _signed(item)
            if not any_match([candidate], (_digest(secret, signed) for secret in secrets)):
                raise mismatch("hmacSignature of an item", "what it covers")

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:
        return {} if _is_batch(message) else _WHOLE_BODY.sign(message, secret, now)

    def seal(self, message: Parsed, secret: bytes, now: float) -> bytes:  # noqa: ARG002 - no time is signed
        """As the protocol says; a body without items is returned as it is."""
        if not _is_batch(message):
            return message.body
        body = json_body(message)
        for item in _items(body):
            signature = _digest(secret, _signed(item)).decode()
            item["additionalData"] = {**item.get("additionalData", {}), "hmacSignature": signature}
        return json.dumps(body).encode()


def _is_batch(message: Parsed) -> bool:
    body = json_body(message)
    return isinstance(body, dict) and "notificationItems" in body


def _items(body: Any) -> list[dict[str, Any]]:
    entries = body.get("notificationItems") if isinstance(body, dict) else None
    if not isinstance(entries, list) or not entries:
        raise missing("the delivery has neither HmacSignature nor notificationItems")
    items = [_mapping(entry).get("NotificationRequestItem") for entry in entries]
    if not all(isinstance(item, dict) for item in items):
        raise malformed("an entry of notificationItems has no NotificationRequestItem")
    return [_mapping(item) for item in items]


def _candidate(item: dict[str, Any]) -> bytes:
    extra = item.get("additionalData")
    sent = extra.get("hmacSignature") if isinstance(extra, dict) else None
    if sent is None:
        raise missing("an item has no additionalData.hmacSignature")
    candidate = sent.encode("ascii", "replace") if isinstance(sent, str) else b""
    check_digest(candidate, "hmacSignature", "sha256", "base64")
    return candidate


def _signed(item: dict[str, Any]) -> bytes:
    amount = _mapping(item.get("amount"))
    # Only what stands in the amount is the amount: who reads the item finds it nowhere else.
    signed = {**item, **{f"amount.{key}": amount.get(key) for key in ("value", "currency")}}
    return b":".join(_text(signed.get(name), name) for name in _SIGNED)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any, name: str) -> bytes:
    """Return a signed value as Adyen writes it: unescaped, and nothing for one that is absent."""
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if not isinstance(value, (str, int)):
        raise malformed(f"{name} of an item must be text or a whole number")
    text = utf8(str(value), name)
    if b":" in text and name not in _CHOSEN_BY_MERCHANTS:
        # Colons join the values: one inside of them could make the same text of other values.
        raise malformed(f"{name} of an item must not hold a colon")
    return text


def _digest(secret: bytes, signed: bytes) -> bytes:
    return hmac_digest(secret, signed, "sha256", "base64")
