"""Shared secrets that come as they are. They prove who sends, and cover nothing of what is sent."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from ...errors import ConfigError, SignatureError
from ..parsed import Parsed
from .digests import is_one_of
from .keys import text_key
from .options import check_header_name
from .reading import canonical_base64, signature_header
from .refusals import malformed, missing

__all__ = ["BasicAuth", "BearerToken", "QueryToken", "SharedToken"]

_MAX_QUERY = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedToken:
    """A token in a header (Telegram, GitLab, Okta).

    Attributes:
        header: The header that carries it.
        prefix: What stands before it, for example ``"Bearer "``, in any letter case.
    """

    header: str
    prefix: str = ""

    def __post_init__(self) -> None:
        check_header_name(self.header)

    def load_secret(self, secret: str | bytes) -> bytes:
        return text_key(secret).strip()

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:  # noqa: ARG002 - no time is sent
        sent = signature_header(message, self.header)
        if not sent.lower().startswith(self.prefix.lower().encode()):
            raise malformed(f"{self.header} must begin with {self.prefix!r}")
        _check(sent[len(self.prefix) :].strip(b" "), secrets, self.header)

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:  # noqa: ARG002 - no time is sent
        return {self.header: self.prefix + secret.decode("latin-1")}


def BearerToken(header: str = "Authorization") -> SharedToken:  # noqa: N802 - reads like the other schemes
    """Return the scheme of ``Authorization: Bearer <token>``."""
    return SharedToken(header=header, prefix="Bearer ")


@dataclass(frozen=True, slots=True)
class QueryToken:
    """A token in the URL's query. URLs end up in logs: prefer a header where there is a choice.

    ``sign`` returns no headers, since the token belongs into the URL.

    Attributes:
        name: Name of the parameter.
    """

    name: str = "access_token"

    def load_secret(self, secret: str | bytes) -> bytes:
        return text_key(secret).strip()

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:  # noqa: ARG002 - no time is sent
        sent = set(self._values(message))
        if not sent:
            raise missing(f"the URL has no {self.name}")
        if len(sent) > 1:
            raise malformed(f"{self.name} came with {len(sent)} different values")
        _check(sent.pop(), secrets, self.name)

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:  # noqa: ARG002 - no time is sent
        return {}

    def _values(self, message: Parsed) -> list[bytes]:
        if len(message.query) > _MAX_QUERY:
            raise malformed(f"the URL's query is longer than {_MAX_QUERY:,} bytes")
        pairs = [item.partition(b"=") for item in message.query.split(b"&")]
        wanted = self.name.encode()
        return [_unquoted(value) for name, _, value in pairs if _unquoted(name) == wanted]


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicAuth:
    """User and password, as HTTP's basic authentication (RFC 7617).

    The secret is ``user:password``.
    """

    def load_secret(self, secret: str | bytes) -> bytes:
        raw = text_key(secret)
        if not raw.partition(b":")[0] or not raw.partition(b":")[2]:
            raise ConfigError("the secret must be 'user:password'")
        return raw

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:  # noqa: ARG002 - no time is sent
        kind, _, encoded = signature_header(message, "Authorization").partition(b" ")
        if kind.lower() != b"basic":
            raise malformed("Authorization must be of the kind Basic")
        sent = canonical_base64(encoded.strip(b" "), "Authorization's user and password")
        _check(sent, secrets, "Authorization")

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:  # noqa: ARG002 - no time is sent
        return {"Authorization": f"Basic {base64.b64encode(secret).decode()}"}


def _check(sent: bytes, secrets: Sequence[bytes], what: str) -> None:
    if not is_one_of(sent, secrets):
        detail = f"{what} is none of the configured secrets"
        raise SignatureError("signature_mismatch", detail)


def _unquoted(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))
