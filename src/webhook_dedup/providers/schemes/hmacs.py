"""HMACs over the raw body, in one header."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import ConfigError
from ...policy import check_choice
from ..parsed import Parsed
from .digests import (
    Algorithm,
    EncodingName,
    any_match,
    digest_looks,
    hmac_digest,
    is_digest,
)
from .keys import KEY_FORMATS, KeyFormat, exact_key
from .options import check_header_name, check_tolerance
from .reading import is_unix_time, signature_header, time_header
from .refusals import check_time, malformed, mismatch

__all__ = ["HeaderTimedHmac", "HmacSignature", "TimestampedHmac"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HmacSignature:
    """One HMAC over the raw body, alone in one header.

    Attributes:
        header: The header that carries it.
        algorithm: The hash.
        encoding: ``"hex"`` (lower case) or ``"base64"``.
        prefix: What stands before the encoded digest, for example ``"sha256="``.
        prefix_optional: Accept a signature without the prefix, too.
        key: How the secret stands for the key: as ``"text"``, letter by letter, or written in
            ``"hex"`` or ``"base64"``.
    """

    header: str
    algorithm: Algorithm = "sha256"
    encoding: EncodingName = "hex"
    prefix: str = ""
    prefix_optional: bool = False
    key: KeyFormat = "text"

    def __post_init__(self) -> None:
        check_header_name(self.header)
        check_choice(self.algorithm, Algorithm, "algorithm")
        check_choice(self.encoding, EncodingName, "encoding")
        check_choice(self.key, KeyFormat, "key")

    def load_secret(self, secret: str | bytes) -> bytes:
        return KEY_FORMATS[self.key](secret)

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:  # noqa: ARG002 - no time is signed
        candidate = self._candidate(signature_header(message, self.header))
        if not any_match([candidate], (self._digest(message, secret) for secret in secrets)):
            raise mismatch(self.header)

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:  # noqa: ARG002 - no time is signed
        return {self.header: self.prefix + self._digest(message, secret).decode()}

    def _candidate(self, sent: bytes) -> bytes:
        prefix = self.prefix.encode()
        candidate = sent.removeprefix(prefix)
        lacks_prefix = not (self.prefix_optional or sent.startswith(prefix))
        if lacks_prefix or not is_digest(candidate, self.algorithm, self.encoding):
            raise malformed(f"{self.header} must be {self._looks()}")
        return candidate

    def _looks(self) -> str:
        digest = digest_looks(self.algorithm, self.encoding)
        if not self.prefix:
            return digest
        return f"{self.prefix!r} {'(optional) ' if self.prefix_optional else ''}and {digest}"

    def _digest(self, message: Parsed, secret: bytes) -> bytes:
        return hmac_digest(secret, message.body, self.algorithm, self.encoding)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimestampedHmac:
    """HMAC-SHA256 in hex over a time and the raw body, both in one header of ``key=value`` items.

    The defaults are Stripe's ``Stripe-Signature: t=1492774577,v1=5257a8…,v0=6ffbb5…``, where the
    signed text is ``<t>.<body>``. Several signatures may come, one for each active secret; items
    with other keys are ignored.

    Attributes:
        header: The header that carries the items.
        time_key: Key of the unix time.
        signature_key: Key of the signatures.
        item_separator: What stands between items.
        joiner: What stands between time and body in the signed text.
        tolerance: How many seconds the time may lie in the past or in the future; ``None`` for any.
    """

    header: str
    time_key: str = "t"
    signature_key: str = "v1"
    item_separator: str = ","
    joiner: str = "."
    tolerance: float | None = 300.0

    def __post_init__(self) -> None:
        check_header_name(self.header)
        check_tolerance(self.tolerance)

    def load_secret(self, secret: str | bytes) -> bytes:
        return exact_key(secret)

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:
        stamp, candidates = self._items(signature_header(message, self.header))
        if not any_match(candidates, (self._digest(message, stamp, secret) for secret in secrets)):
            raise mismatch(self.header)
        check_time(int(stamp), now, self.tolerance)

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:
        stamp = str(int(now))
        digest = self._digest(message, stamp.encode(), secret).decode()
        items = f"{self.time_key}={stamp}{self.item_separator}{self.signature_key}={digest}"
        return {self.header: items}

    def _items(self, sent: bytes) -> tuple[bytes, list[bytes]]:
        """Return the time as it was sent, and the well-formed signatures."""
        items = [item.partition(b"=") for item in sent.split(self.item_separator.encode())]
        stamps = [value for key, _, value in items if key == self.time_key.encode()]
        signatures = [value for key, _, value in items if key == self.signature_key.encode()]
        candidates = [value for value in signatures if is_digest(value, "sha256", "hex")]
        if len(stamps) != 1 or not is_unix_time(stamps[0]):
            raise malformed(f"{self.header} must hold one unix time as {self.time_key}=")
        if not candidates:
            raise malformed(f"{self.header} holds no hex digest as {self.signature_key}=")
        return stamps[0], candidates

    def _digest(self, message: Parsed, stamp: bytes, secret: bytes) -> bytes:
        signed = b"".join((stamp, self.joiner.encode(), message.body))
        return hmac_digest(secret, signed, "sha256", "hex")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderTimedHmac:
    """HMAC-SHA256 over a time and the raw body, with the time in a header of its own.

    The defaults are Slack's and Zoom's: ``v0=5257a8…`` over ``v0:<time>:<body>``.

    Attributes:
        header: The header that carries the signature.
        time_header: The header that carries the unix time.
        template: The signed text, with ``{time}`` and ``{body}`` in it.
        prefix: What stands before the encoded digest.
        encoding: ``"hex"`` (lower case) or ``"base64"``.
        tolerance: How many seconds the time may lie in the past or in the future; ``None`` for any.
    """

    header: str
    time_header: str
    template: str = "v0:{time}:{body}"
    prefix: str = "v0="
    encoding: EncodingName = "hex"
    tolerance: float | None = 300.0

    def __post_init__(self) -> None:
        check_header_name(self.header)
        check_header_name(self.time_header)
        check_choice(self.encoding, EncodingName, "encoding")
        check_tolerance(self.tolerance)
        if [self.template.count(name) for name in ("{time}", "{body}")] != [1, 1]:
            raise ConfigError(f"template must hold {{time}} and {{body}}, got {self.template!r}")

    def load_secret(self, secret: str | bytes) -> bytes:
        return exact_key(secret)

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:
        sent = signature_header(message, self.header)
        stamp = time_header(message, self.time_header)
        prefix = self.prefix.encode()
        candidate = sent.removeprefix(prefix)
        if not (sent.startswith(prefix) and is_digest(candidate, "sha256", self.encoding)):
            looks = digest_looks("sha256", self.encoding)
            raise malformed(f"{self.header} must be {self.prefix!r} and {looks}")
        if not any_match([candidate], (self._digest(message, stamp, key) for key in secrets)):
            raise mismatch(self.header)
        check_time(int(stamp), now, self.tolerance)

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:
        stamp = str(int(now))
        digest = self._digest(message, stamp.encode(), secret).decode()
        return {self.header: self.prefix + digest, self.time_header: stamp}

    def _digest(self, message: Parsed, stamp: bytes, secret: bytes) -> bytes:
        before, after = self.template.split("{body}")
        head = before.encode().replace(b"{time}", stamp)
        tail = after.encode().replace(b"{time}", stamp)
        return hmac_digest(secret, head + message.body + tail, "sha256", self.encoding)
