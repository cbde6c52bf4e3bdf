"""Standard Webhooks and Svix: https://github.com/standard-webhooks/standard-webhooks."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import ConfigError, SignatureError
from ..parsed import Parsed
from .asymmetric import ed25519_public, ed25519_sign, ed25519_verifies, require_cryptography
from .digests import any_match, hmac_digest, is_digest
from .keys import from_base64, text_key
from .options import check_header_name, check_tolerance
from .reading import canonical_base64, signature_header, time_header
from .refusals import check_time, malformed, mismatch

__all__ = ["StandardWebhooks"]

_SYMMETRIC, _PUBLIC, _PRIVATE = "whsec_", "whpk_", "whsk_"
_LOOKS = "whsec_ and base64 (or whpk_ and the base64 of an Ed25519 public key)"
_SEED, _PAIR = 32, 64
_MAX_ASYMMETRIC = 8  # each costs as much as hundreds of digests


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardWebhooks:
    """``v1`` (HMAC-SHA256) and ``v1a`` (Ed25519) signatures over id, time and raw body.

    The secret is ``whsec_`` and base64, or ``whpk_`` and the base64 of a public key; to sign with
    ``v1a``, give the private key as ``whsk_`` and base64. Several signatures may come, of several
    secrets and versions; unknown versions are ignored.

    ``sign`` keeps the id that the message has; without one it makes one of the body, so that the
    same body is the same event.

    Attributes:
        prefix: What the names of the three headers begin with: ``"webhook"``, or ``"svix"``, which
            accepts ``webhook-id`` and so on, too.
        text_secrets: Take a secret that lacks all prefixes as it stands (OpenAI), where otherwise
            it is an error.
        tolerance: How many seconds the time may lie in the past or in the future; ``None`` for any.
    """

    prefix: str = "webhook"
    text_secrets: bool = False
    tolerance: float | None = 300.0

    def __post_init__(self) -> None:
        check_header_name(f"{self.prefix}-id")
        check_tolerance(self.tolerance)

    def load_secret(self, secret: str | bytes) -> bytes:
        raw = text_key(secret).strip()
        for prefix, load in (
            (_SYMMETRIC, _load_symmetric),
            (_PUBLIC, _load_public),
            (_PRIVATE, _load_private),
        ):
            if raw.startswith(prefix.encode()):
                return prefix.encode() + load(raw[len(prefix) :])
        if self.text_secrets:
            return _SYMMETRIC.encode() + text_key(secret)
        raise ConfigError(f"the secret must be {_LOOKS}; if it is bare base64, put whsec_ before")

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:
        stamp = time_header(message, *self._names("timestamp"))
        signed = _signed(signature_header(message, *self._names("id")), stamp, message.body)
        digests, signatures = self._candidates(message)
        matched = any_match(digests, _digests(secrets, signed))
        if not matched and not _any_verifies(_public_keys(secrets), signatures, signed):
            raise mismatch(self._names("signature")[0])
        check_time(int(stamp), now, self.tolerance)

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:
        sent = [value for name in self._names("id") for value in message.header_values(name)]
        event_id = sent[0] if sent else b"msg_" + hashlib.sha256(message.body).hexdigest().encode()
        stamp = str(int(now)).encode()
        signature = _sign(secret, _signed(event_id, stamp, message.body))
        values = {"id": event_id, "timestamp": stamp, "signature": signature}
        return {f"{self.prefix}-{name}": value.decode("latin-1") for name, value in values.items()}

    def _names(self, what: str) -> list[str]:
        """Return the names of one header. Both names may come, but only with one value."""
        return [f"{prefix}-{what}" for prefix in dict.fromkeys((self.prefix, self._alias))]

    @property
    def _alias(self) -> str:
        return "webhook" if self.prefix == "svix" else self.prefix

    def _candidates(self, message: Parsed) -> tuple[list[bytes], list[bytes]]:
        names = self._names("signature")
        items = [item.partition(b",") for item in signature_header(message, *names).split(b" ")]
        digests = [value for version, _, value in items if version == b"v1"]
        digests = [value for value in digests if is_digest(value, "sha256", "base64")]
        signatures = [value for version, _, value in items if version == b"v1a"]
        if not digests and not signatures:
            raise malformed(f"{names[0]} holds no signature as 'v1,' and base64")
        return digests, signatures


def _load_symmetric(encoded: bytes) -> bytes:
    return from_base64(encoded, _LOOKS)


def _load_public(encoded: bytes) -> bytes:
    looks = "whpk_ and the base64 of the 32 bytes of an Ed25519 public key"
    require_cryptography("Ed25519 signatures (v1a)")
    key = from_base64(encoded, looks)
    if len(key) != _SEED:
        raise ConfigError(f"the secret must be {looks}")
    return key


def _load_private(encoded: bytes) -> bytes:
    looks = "whsk_ and the base64 of an Ed25519 private key (32 bytes, or 64 with the public key)"
    require_cryptography("Ed25519 signatures (v1a)")
    key = from_base64(encoded, looks)
    seed, public = key[:_SEED], key[_SEED:]
    if len(key) not in {_SEED, _PAIR} or (public and public != ed25519_public(seed)):
        raise ConfigError(f"the secret must be {looks}")
    return seed


def _signed(event_id: bytes, stamp: bytes, body: bytes) -> bytes:
    return b".".join((event_id, stamp, body))


def _digests(secrets: Sequence[bytes], signed: bytes) -> list[bytes]:
    keys = _of_kind(secrets, _SYMMETRIC)
    return [hmac_digest(key, signed, "sha256", "base64") for key in keys]


def _any_verifies(publics: Sequence[bytes], encoded: Sequence[bytes], signed: bytes) -> bool:
    if publics and len(encoded) > _MAX_ASYMMETRIC:
        raise malformed(f"more than {_MAX_ASYMMETRIC} signatures came as v1a")
    for signature in encoded if publics else ():
        with contextlib.suppress(SignatureError):  # the next one may be well-formed
            raw = canonical_base64(signature, "v1a")
            if any(ed25519_verifies(public, raw, signed) for public in publics):
                return True
    return False


def _public_keys(secrets: Sequence[bytes]) -> list[bytes]:
    derived = [ed25519_public(seed) for seed in _of_kind(secrets, _PRIVATE)]
    return _of_kind(secrets, _PUBLIC) + derived


def _of_kind(secrets: Sequence[bytes], prefix: str) -> list[bytes]:
    marked = [secret for secret in secrets if secret.startswith(prefix.encode())]
    return [secret.removeprefix(prefix.encode()) for secret in marked]


def _sign(secret: bytes, signed: bytes) -> bytes:
    for seed in _of_kind([secret], _PRIVATE):
        return b"v1a," + base64.b64encode(ed25519_sign(seed, signed))
    for digest in _digests([secret], signed):
        return b"v1," + digest
    raise ConfigError("a public key (whpk_) cannot sign; give the private key (whsk_)")
