"""Named signature schemes: how senders prove that a delivery is theirs.

Every scheme works on the exact bytes and compares in constant time. Any number of secrets may be
active at once, so that one can be rotated without losing a delivery.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ..errors import ConfigError, SignatureError
from .parsed import Parsed, is_header_name

__all__ = ["HmacSignature", "Secrets", "SignatureScheme", "TimestampedHmac", "load_secrets"]

Secrets = str | bytes | Sequence[str | bytes]


class SignatureScheme(Protocol):
    """How one family of senders signs."""

    def load_secret(self, secret: str | bytes) -> bytes:
        """Return the key that a configured secret stands for.

        Raises:
            ConfigError: It has the wrong format; the message names the right one.
        """

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:
        """Return if one of the secrets signed the message.

        Args:
            message: The request as it came.
            secrets: Keys made by ``load_secret``.
            now: Unix time, for schemes that sign a time.

        Raises:
            SignatureError: With the code ``missing_signature``, ``malformed_signature``,
                ``signature_mismatch``, ``signature_too_old`` or ``signature_in_future``.
        """

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:
        """Return the headers that make the message valid."""


def load_secrets(scheme: SignatureScheme, secret: Secrets) -> tuple[bytes, ...]:
    """Return the keys of one configured secret or several.

    Raises:
        ConfigError: There is none, or one has the wrong format.
    """
    if isinstance(secret, (str, bytes)):
        return (scheme.load_secret(secret),)
    if not secret:
        raise ConfigError(f"secret={secret!r} holds no secret; give one, or a list of several")
    return tuple(scheme.load_secret(one) for one in secret)


@dataclass(frozen=True, slots=True)
class _Encoding:
    encode: Callable[[bytes], bytes]
    alphabet: bytes
    looks: str


_ENCODINGS = {
    "hex": _Encoding(lambda raw: raw.hex().encode(), b"0123456789abcdef", "lower-case hex"),
    "base64": _Encoding(
        base64.b64encode,
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=",
        "base64",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HmacSignature:
    """One HMAC over the raw body, alone in one header.

    Attributes:
        header: The header that carries it.
        algorithm: The hash.
        encoding: ``"hex"`` (lower case) or ``"base64"``.
        prefix: What stands before the encoded digest, for example ``"sha256="``.
        prefix_optional: Accept a signature without the prefix, too.
    """

    header: str
    algorithm: Literal["sha1", "sha256", "sha384", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    prefix_optional: bool = False

    def __post_init__(self) -> None:
        _check_header_name(self.header)
        _check_choice("algorithm", self.algorithm, ("sha1", "sha256", "sha384", "sha512"))
        _check_choice("encoding", self.encoding, tuple(_ENCODINGS))

    def load_secret(self, secret: str | bytes) -> bytes:
        return _text_secret(secret)

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:  # noqa: ARG002 - no time is signed
        candidate = self._candidate(_signature_header(message, self.header))
        if not _any_match([candidate], (self._digest(message, secret) for secret in secrets)):
            raise _mismatch(self.header)

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:  # noqa: ARG002 - no time is signed
        return {self.header: self.prefix + self._digest(message, secret).decode()}

    def _candidate(self, sent: bytes) -> bytes:
        prefix = self.prefix.encode()
        candidate = sent.removeprefix(prefix)
        lacks_prefix = not (self.prefix_optional or sent.startswith(prefix))
        if lacks_prefix or not _is_digest(candidate, self.algorithm, self.encoding):
            raise _malformed(f"{self.header} must be {self._looks()}")
        return candidate

    def _looks(self) -> str:
        digest = f"a {self.algorithm} digest in {_ENCODINGS[self.encoding].looks}"
        if not self.prefix:
            return digest
        return f"{self.prefix!r} {'(optional) ' if self.prefix_optional else ''}and {digest}"

    def _digest(self, message: Parsed, secret: bytes) -> bytes:
        return _hmac(secret, message.body, self.algorithm, self.encoding)


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
        tolerance: How many seconds the time may lie in the past or in the future.
    """

    header: str
    time_key: str = "t"
    signature_key: str = "v1"
    item_separator: str = ","
    joiner: str = "."
    tolerance: float = 300.0

    def __post_init__(self) -> None:
        _check_header_name(self.header)
        if not self.tolerance > 0:
            raise ConfigError(f"tolerance must be more than 0 seconds, got {self.tolerance!r}")

    def load_secret(self, secret: str | bytes) -> bytes:
        return _text_secret(secret)

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:
        stamp, candidates = self._items(_signature_header(message, self.header))
        if not _any_match(candidates, (self._digest(message, stamp, secret) for secret in secrets)):
            raise _mismatch(self.header)
        _check_time(int(stamp), now, self.tolerance)

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
        candidates = [value for value in signatures if _is_digest(value, "sha256", "hex")]
        if len(stamps) != 1 or not _UNIX_TIME.fullmatch(stamps[0]):
            raise _malformed(f"{self.header} must hold one unix time as {self.time_key}=")
        if not candidates:
            raise _malformed(f"{self.header} holds no hex digest as {self.signature_key}=")
        return stamps[0], candidates

    def _digest(self, message: Parsed, stamp: bytes, secret: bytes) -> bytes:
        signed = b"".join((stamp, self.joiner.encode(), message.body))
        return _hmac(secret, signed, "sha256", "hex")


_MAX_HEADER = 16_384  # room for 200 signatures; more is work that only a forger would ask for
_UNIX_TIME = re.compile(rb"[0-9]{1,12}")


def _check_header_name(name: str) -> None:
    if not is_header_name(name):
        raise ConfigError(f"{name!a} is not the name of a header")


def _check_choice(what: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ConfigError(f"{what} must be one of {', '.join(choices)}; got {value!r}")


def _text_secret(secret: str | bytes) -> bytes:
    """Return a secret that is used as it stands, letter by letter."""
    if not isinstance(secret, (str, bytes)):
        raise ConfigError(f"a secret is text or bytes, got {type(secret).__name__}")
    if not secret.strip():
        raise ConfigError("the secret is blank; give the signing secret as the provider shows it")
    try:
        return secret.encode() if isinstance(secret, str) else secret
    except UnicodeEncodeError:
        raise ConfigError("the secret is not UTF-8 text; give it as bytes") from None


def _signature_header(message: Parsed, name: str) -> bytes:
    values = {value.strip(b" \t") for value in message.header_values(name)} - {b""}
    if not values:
        raise SignatureError("missing_signature", f"the delivery has no {name} header")
    if len(values) > 1:
        raise _malformed(f"{name} came with {len(values)} different values")
    value = values.pop()
    if len(value) > _MAX_HEADER:
        raise _malformed(f"{name} is longer than {_MAX_HEADER:,} bytes")
    return value


def _is_digest(candidate: bytes, algorithm: str, encoding: str) -> bool:
    right_length = len(candidate) == _digest_length(algorithm, encoding)
    return right_length and not candidate.translate(None, _ENCODINGS[encoding].alphabet)


@functools.cache
def _digest_length(algorithm: str, encoding: str) -> int:
    return len(_ENCODINGS[encoding].encode(bytes(hashlib.new(algorithm).digest_size)))


def _hmac(secret: bytes, signed: bytes, algorithm: str, encoding: str) -> bytes:
    return _ENCODINGS[encoding].encode(hmac.digest(secret, signed, algorithm))


def _any_match(candidates: Iterable[bytes], expected: Iterable[bytes]) -> bool:
    """Compare each with each; stopping at the first match would tell which secret it was."""
    matched = False
    for digest in expected:
        for candidate in candidates:
            matched |= hmac.compare_digest(candidate, digest)
    return matched


def _check_time(signed_at: int, now: float, tolerance: float) -> None:
    age = now - signed_at
    if age > tolerance:
        detail = f"the delivery was signed {age:.0f} s ago; {tolerance:.0f} s are allowed"
        raise SignatureError("signature_too_old", detail)
    if age < -tolerance:
        detail = f"the delivery was signed {-age:.0f} s in the future; is this machine's clock off?"
        raise SignatureError("signature_in_future", detail)


def _malformed(detail: str) -> SignatureError:
    return SignatureError("malformed_signature", detail)


def _mismatch(header: str) -> SignatureError:
    detail = f"{header} does not match the body under any of the configured secrets"
    return SignatureError("signature_mismatch", detail)
