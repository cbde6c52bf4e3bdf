"""HubSpot: https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from ...errors import ConfigError
from ..parsed import Parsed
from .digests import any_match, hmac_digest
from .keys import exact_key
from .options import check_tolerance
from .reading import public_url, signature_header
from .refusals import check_digest, check_time, malformed, mismatch, missing

__all__ = ["HubSpotSignature", "HubSpotVersion"]

HubSpotVersion = Literal["v1", "v2", "v3"]

_OLD_HEADER, _VERSION_HEADER = "X-HubSpot-Signature", "X-HubSpot-Signature-Version"
_HEADER, _TIME_HEADER = "X-HubSpot-Signature-v3", "X-HubSpot-Request-Timestamp"
_MILLISECONDS = re.compile(rb"[0-9]{1,15}")
_SIGNED_DECODED = {f"%{ord(char):02X}".encode(): char.encode() for char in ":/?@!$'()*,;"}
_ENCODED = re.compile(rb"%(3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSpotSignature:
    """Signatures of version 3, and where they are wanted of versions 1 and 2.

    Version 3 is an HMAC over method, URL, body and time. The older ones sign no time, so that they
    let a captured delivery in for ever, and are plain hashes: who has seen one can make that of a
    longer body. HubSpot sends one beside version 3. Where version 3 is sent, only that counts.

    Attributes:
        versions: The versions that are accepted.
        tolerance: How many seconds the time may lie in the past or in the future; ``None`` for any.
    """

    signs_url: ClassVar[bool] = True

    versions: tuple[HubSpotVersion, ...] = ("v3",)
    tolerance: float | None = 300.0

    def __post_init__(self) -> None:
        known = get_args(HubSpotVersion)
        if not self.versions or not set(self.versions) <= set(known):
            raise ConfigError(
                f"versions must name one or more of {', '.join(known)}, got {self.versions!r}"
            )
        check_tolerance(self.tolerance)

    def load_secret(self, secret: str | bytes) -> bytes:
        return exact_key(secret)

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:
        if self._expects_v3(message):
            self._verify_v3(message, secrets, now)
        else:
            self._verify_old(message, secrets)

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:
        if "v3" in self.versions:
            stamp = str(int(now * 1000))
            url = _decoded(public_url(message))
            return {
                _HEADER: _digest_v3(message, url, stamp.encode(), secret).decode(),
                _TIME_HEADER: stamp,
            }
        version = self.versions[0]
        return {
            _OLD_HEADER: _OLD_DIGESTS[version](message, secret).decode(),
            _VERSION_HEADER: version,
        }

    def _expects_v3(self, message: Parsed) -> bool:
        return "v3" in self.versions and (
            self.versions == ("v3",) or bool(message.header_values(_HEADER))
        )

    def _verify_v3(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:
        candidate = signature_header(message, _HEADER)
        stamp = signature_header(message, _TIME_HEADER)
        check_digest(candidate, _HEADER, "sha256", "base64")
        if not _MILLISECONDS.fullmatch(stamp):
            raise malformed(f"{_TIME_HEADER} must be a unix time in milliseconds")
        urls = dict.fromkeys((public_url(message), _decoded(public_url(message))))
        expected = (_digest_v3(message, url, stamp, key) for key in secrets for url in urls)
        if not any_match([candidate], expected):
            raise mismatch(_HEADER, "URL and body")
        check_time(int(stamp) / 1000, now, self.tolerance)

    def _verify_old(self, message: Parsed, secrets: Sequence[bytes]) -> None:
        candidate = signature_header(message, _OLD_HEADER)
        version = signature_header(message, _VERSION_HEADER).decode("latin-1")
        if version not in self.versions or version not in _OLD_DIGESTS:
            raise missing(f"the delivery has no signature of {' or '.join(self.versions)}")
        check_digest(candidate, _OLD_HEADER, "sha256", "hex")
        digest = _OLD_DIGESTS[version]
        if not any_match([candidate], [digest(message, secret) for secret in secrets]):
            raise mismatch(_OLD_HEADER)


def _decoded(url: bytes) -> bytes:
    return _ENCODED.sub(lambda found: _SIGNED_DECODED[found[0].upper()], url)


def _digest_v3(message: Parsed, url: bytes, stamp: bytes, secret: bytes) -> bytes:
    signed = b"".join((_method(message), url, message.body, stamp))
    return hmac_digest(secret, signed, "sha256", "base64")


def _digest_v2(message: Parsed, secret: bytes) -> bytes:
    signed = b"".join((secret, _method(message), public_url(message), message.body))
    return hashlib.sha256(signed).hexdigest().encode()


def _digest_v1(message: Parsed, secret: bytes) -> bytes:
    return hashlib.sha256(secret + message.body).hexdigest().encode()


def _method(message: Parsed) -> bytes:
    return message.method.encode("latin-1", "backslashreplace")


_OLD_DIGESTS: dict[str, Callable[[Parsed, bytes], bytes]] = {"v1": _digest_v1, "v2": _digest_v2}
