"""Elliptic-curve signatures over a time and the raw body: SendGrid and Discord.

The receiver's secret is a public key. To sign, as tests and demonstrations do, give the private one
in its place: it verifies, too.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import ConfigError
from ..parsed import Parsed
from .asymmetric import (
    ed25519_public,
    ed25519_sign,
    ed25519_verifies,
    p256_sign,
    p256_verifies,
    require_cryptography,
)
from .keyfiles import private_p256, public_p256
from .keys import from_base64, hex_key, text_of
from .options import check_header_name, check_tolerance
from .reading import canonical_base64, signature_header, time_header
from .refusals import check_time, malformed, mismatch

__all__ = ["DiscordSignature", "SendGridSignature"]

_SEED, _PAIR = 32, 64
_HEX_SIGNATURE = re.compile(rb"[0-9a-f]{128}")
_PEM_FRAME = re.compile(r"-----(BEGIN|END) [A-Z ]+-----|\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class SendGridSignature:
    """ECDSA over P-256 and SHA-256.

    The secret is the verification key as SendGrid shows it, the base64 of an SPKI public key; to
    sign, the base64 of a PKCS #8 private key. PEM will do for either.

    Attributes:
        header: The header that carries the signature, in base64.
        time_header: The header that carries the unix time.
        tolerance: How many seconds the time may lie in the past or in the future; ``None`` for
            any. SendGrid's own library checks none, and whether retries sign a new time is not
            documented.
    """

    header: str = "X-Twilio-Email-Event-Webhook-Signature"
    time_header: str = "X-Twilio-Email-Event-Webhook-Timestamp"
    tolerance: float | None = None

    def __post_init__(self) -> None:
        check_header_name(self.header)
        check_header_name(self.time_header)
        check_tolerance(self.tolerance)

    def load_secret(self, secret: str | bytes) -> bytes:
        looks = "the base64 of a public key of the curve P-256 (MFkw… at SendGrid)"
        require_cryptography("ECDSA signatures")
        der = from_base64(_PEM_FRAME.sub("", text_of(secret, looks)).encode(), looks)
        try:
            public_p256(der)
        except ValueError:
            raise ConfigError(f"the secret must be {looks}") from None
        return der

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:
        signature = canonical_base64(signature_header(message, self.header), self.header)
        stamp = time_header(message, self.time_header)
        signed = stamp + message.body
        if not any(p256_verifies(public_p256(key), signature, signed) for key in secrets):
            raise mismatch(self.header)
        check_time(int(stamp), now, self.tolerance)

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:
        stamp = str(int(now))
        try:
            key = private_p256(secret)
        except ValueError:
            raise ConfigError("a public key cannot sign; give the private key") from None
        signature = base64.b64encode(p256_sign(key, stamp.encode() + message.body))
        return {self.header: signature.decode(), self.time_header: stamp}


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscordSignature:
    """Ed25519, in hex.

    The secret is the application's public key, 64 hex digits; to sign, 128 hex digits, the private
    key and the public key behind it.

    Attributes:
        header: The header that carries the signature, in hex.
        time_header: The header that carries the unix time.
        tolerance: How many seconds the time may lie in the past or in the future; ``None`` for
            any, as Discord's own library has it.
    """

    header: str = "X-Signature-Ed25519"
    time_header: str = "X-Signature-Timestamp"
    tolerance: float | None = None

    def __post_init__(self) -> None:
        check_header_name(self.header)
        check_header_name(self.time_header)
        check_tolerance(self.tolerance)

    def load_secret(self, secret: str | bytes) -> bytes:
        looks = "the 64 hex digits of an Ed25519 public key"
        require_cryptography("Ed25519 signatures")
        key = hex_key(secret, looks)
        is_pair = len(key) == _PAIR and ed25519_public(key[:_SEED]) == key[_SEED:]
        if len(key) != _SEED and not is_pair:
            raise ConfigError(f"the secret must be {looks}")
        return key

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:
        sent = signature_header(message, self.header)
        stamp = time_header(message, self.time_header)
        if not _HEX_SIGNATURE.fullmatch(sent):
            raise malformed(f"{self.header} must be 128 lower-case hex digits")
        signature, signed = bytes.fromhex(sent.decode()), stamp + message.body
        if not any(ed25519_verifies(key[-_SEED:], signature, signed) for key in secrets):
            raise mismatch(self.header)
        check_time(int(stamp), now, self.tolerance)

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:
        if len(secret) != _PAIR:
            raise ConfigError("a public key cannot sign; give the private and the public key")
        stamp = str(int(now))
        signature = ed25519_sign(secret[:_SEED], stamp.encode() + message.body)
        return {self.header: signature.hex(), self.time_header: stamp}
