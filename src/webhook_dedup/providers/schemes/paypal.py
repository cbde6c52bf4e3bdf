"""PayPal: https://developer.paypal.com/api/rest/webhooks/rest/."""

from __future__ import annotations

import base64
import datetime as dt
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...errors import SignatureError
from ..parsed import Parsed
from ..times import parse_time
from .certificates import SignedText, check_signers, load_named, sign_text, split_named
from .fetching import KeyCache, fetch_https
from .keyfiles import Certificate, read_certificate
from .options import check_tolerance
from .reading import canonical_base64, signature_header
from .refusals import check_time, malformed

__all__ = ["PayPalSignature"]

_ID, _TIME = "PAYPAL-TRANSMISSION-ID", "PAYPAL-TRANSMISSION-TIME"
_SIGNATURE, _ALGORITHM = "PAYPAL-TRANSMISSION-SIG", "PAYPAL-AUTH-ALGO"
_CERTIFICATE = "PAYPAL-CERT-URL"
_RSA_SHA256 = b"SHA256withRSA"
_WEBHOOK_ID = re.compile(r"[A-Za-z0-9_-]{4,64}")
_CERTIFICATE_URL = re.compile(
    rb"https://api(-m)?(\.sandbox)?\.paypal\.com/v1/notifications/certs/[A-Za-z0-9_-]{1,128}"
)
_OWNER = ".paypal.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class PayPalSignature:
    """RSA with SHA-256 over transmission id, time, webhook id and the CRC-32 of the body.

    The secret is the webhook's id. A private key in PEM on the lines after it signs and verifies
    in place of the certificate that PayPal publishes, for tests.

    **A CRC-32 is easily matched by another body**: whoever sees one delivery can put a different
    body under its signature. PayPal offers a call that verifies a whole delivery; ask it where the
    body decides about money.

    Attributes:
        fetch_certificate: Returns the certificate at a URL, in PEM; asked for PayPal's URLs only.
        tolerance: How many seconds the time may lie in the past or in the future; ``None`` for
            any, as PayPal's own library has it.
    """

    fetch_certificate: Callable[[str], bytes] = fetch_https
    tolerance: float | None = None
    _certificates: KeyCache[Certificate] = field(
        default_factory=KeyCache, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        check_tolerance(self.tolerance)

    def load_secret(self, secret: str | bytes) -> bytes:
        return load_named(secret, _WEBHOOK_ID.fullmatch, "the id of the webhook, 4JH86294D6297924G")

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:
        signature = canonical_base64(signature_header(message, _SIGNATURE), _SIGNATURE)
        sent_at = signature_header(message, _TIME)
        transmission = signature_header(message, _ID)
        if signature_header(message, _ALGORITHM) != _RSA_SHA256:
            raise malformed(f"{_ALGORITHM} must be {_RSA_SHA256.decode()}")
        signers = []
        for webhook_id, pinned in map(split_named, secrets):
            certificate = pinned or self._certificate(message)
            text = _text(transmission, sent_at, webhook_id, message.body)
            if SignedText(text, signature).is_signed_by(certificate):
                signers.append(certificate)
        check_signers(signers, now, _SIGNATURE)
        self._check_time(sent_at, now)

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:
        sent = message.header_values(_ID)
        transmission = sent[0] if sent else f"transmission-{zlib.crc32(message.body)}".encode()
        stamp = dt.datetime.fromtimestamp(int(now), dt.timezone.utc).isoformat()
        sent_at = stamp.replace("+00:00", "Z")
        text = _text(transmission, sent_at.encode(), split_named(secret)[0], message.body)
        return {
            _ID: transmission.decode("latin-1"),
            _TIME: sent_at,
            _ALGORITHM: _RSA_SHA256.decode(),
            _CERTIFICATE: "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-0",
            _SIGNATURE: base64.b64encode(sign_text(secret, text, "sha256")).decode(),
        }

    def lacks(self, message: Parsed, secrets: Sequence[bytes]) -> bool:
        try:
            needed = any(split_named(secret)[1] is None for secret in secrets)
            return needed and self._certificates.peek(_certificate_url(message)) is None
        except SignatureError:
            return False  # refused without a certificate

    def fetch(self, message: Parsed, secrets: Sequence[bytes]) -> None:
        if any(split_named(secret)[1] is None for secret in secrets):
            self._certificate(message)

    def _certificate(self, message: Parsed) -> Certificate:
        url = _certificate_url(message)
        return self._certificates.get(url, lambda: self._fetched(url))

    def _fetched(self, url: str) -> Certificate:
        certificate = read_certificate(self.fetch_certificate(url))
        if not certificate.common_name.lower().endswith(_OWNER):
            raise ValueError("the certificate is not PayPal's")
        return certificate

    def _check_time(self, sent_at: bytes, now: float) -> None:
        if self.tolerance is None:
            return
        signed_at = parse_time(sent_at.decode("latin-1"))
        if signed_at is None:
            raise malformed(f"{_TIME} must be an RFC 3339 time")
        check_time(signed_at, now, self.tolerance)


def _certificate_url(message: Parsed) -> str:
    url = signature_header(message, _CERTIFICATE)
    if not _CERTIFICATE_URL.fullmatch(url):
        raise malformed(f"{_CERTIFICATE} is not the URL of a certificate of PayPal")
    return url.decode()


def _text(transmission: bytes, sent_at: bytes, webhook_id: bytes, body: bytes) -> bytes:
    checksum = str(zlib.crc32(body)).encode()
    return b"|".join((transmission, sent_at, webhook_id, checksum))
