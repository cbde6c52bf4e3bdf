"""HMACs over the URL that was called, and what came with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...policy import check_choice
from ..parsed import Parsed
from .digests import (
    Algorithm,
    EncodingName,
    any_match,
    hmac_digest,
)
from .keys import exact_key
from .options import check_header_name
from .reading import form_fields, is_urlencoded, public_url, signature_header
from .refusals import check_digest, malformed, mismatch

__all__ = ["MandrillSignature", "UrlHmac"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlHmac:
    """One HMAC over the URL, letter by letter as it was registered, and the raw body (Square).

    Attributes:
        header: The header that carries it.
        algorithm: The hash.
        encoding: ``"hex"`` (lower case) or ``"base64"``.
    """

    signs_url: ClassVar[bool] = True

    header: str
    algorithm: Algorithm = "sha256"
    encoding: EncodingName = "base64"

    def __post_init__(self) -> None:
        check_header_name(self.header)
        check_choice(self.algorithm, Algorithm, "algorithm")
        check_choice(self.encoding, EncodingName, "encoding")

    def load_secret(self, secret: str | bytes) -> bytes:
        return exact_key(secret)

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:  # noqa: ARG002 - no time is signed
        candidate = signature_header(message, self.header)
        check_digest(candidate, self.header, self.algorithm, self.encoding)
        if not any_match([candidate], [self._digest(message, secret) for secret in secrets]):
            raise mismatch(self.header, "URL and body")

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:  # noqa: ARG002 - no time is signed
        return {self.header: self._digest(message, secret).decode()}

    def _digest(self, message: Parsed, secret: bytes) -> bytes:
        signed = public_url(message) + message.body
        return hmac_digest(secret, signed, self.algorithm, self.encoding)


@dataclass(frozen=True, slots=True, kw_only=True)
class MandrillSignature:
    """HMAC-SHA1 over the URL and the form fields, sorted by name.

    The URL is signed as it was registered, a user and password in it included.
    """

    signs_url: ClassVar[bool] = True

    header: str = "X-Mandrill-Signature"

    def load_secret(self, secret: str | bytes) -> bytes:
        return exact_key(secret)

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:  # noqa: ARG002 - no time is signed
        candidate = signature_header(message, self.header)
        check_digest(candidate, self.header, "sha1", "base64")
        signed = _url_and_fields(message)
        if not any_match([candidate], (_digest(secret, signed) for secret in secrets)):
            raise mismatch(self.header, "URL and body")

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:  # noqa: ARG002 - no time is signed
        return {self.header: _digest(secret, _url_and_fields(message)).decode()}


def _url_and_fields(message: Parsed) -> bytes:
    if not is_urlencoded(message):
        # A multipart form could carry files beside the fields, and no signature covers those.
        raise malformed("the signature covers urlencoded form fields, and the body is no such form")
    form = form_fields(message)
    fields = "".join(name + value for name in sorted(form) for value in form[name])
    return public_url(message) + fields.encode()


def _digest(secret: bytes, signed: bytes) -> bytes:
    return hmac_digest(secret, signed, "sha1", "base64")
