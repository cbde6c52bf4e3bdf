"""Plaid: https://plaid.com/docs/api/webhooks/webhook-verification/."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError, SignatureError
from ..parsed import Parsed
from .asymmetric import es256_sign, es256_verifies, require_cryptography
from .fetching import KeyCache, fetch_https
from .keyfiles import Jwk, private_p256_jwk, public_p256_jwk
from .keys import text_key
from .options import check_header_name, check_tolerance
from .reading import canonical_base64url, json_text, signature_header
from .refusals import check_time, malformed, mismatch

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

__all__ = ["PlaidJwt", "fetch_plaid_key"]

_ALGORITHM = "ES256"
_KID = re.compile(r"[!-~]{1,200}")
_ACCOUNT = re.compile(rb"[A-Za-z0-9_-]{1,200}:[A-Za-z0-9_-]{1,200}")
_LATEST = 10**12
_TEST_KID = "signed-here"
_LOOKS = "'<client_id>:<secret>' of your Plaid account, or a verification key as JSON (a JWK)"


def fetch_plaid_key(
    kid: str, client_id: str, secret: str, *, api: str = "https://production.plaid.com"
) -> Jwk:
    """Ask Plaid for the verification key of this id.

    Raises:
        OSError: There was no answer, or none with status 200.
        ValueError: The answer holds no key.
    """
    asked = {"client_id": client_id, "secret": secret, "key_id": kid}
    answer = fetch_https(
        f"{api}/webhook_verification_key/get",
        body=json.dumps(asked).encode(),
        headers={"Content-Type": "application/json"},
    )
    key = json.loads(answer).get("key")
    if not isinstance(key, dict):
        raise ValueError("the answer holds no key")  # noqa: TRY004 - one error for all faults
    return key


@dataclass(frozen=True, slots=True)
class _Claims:
    """What a JWT says, before its signature was checked."""

    kid: str
    issued_at: int
    body_hash: bytes
    signature: bytes
    signed: bytes


@dataclass(frozen=True, slots=True)
class _Key:
    """A verification key, and the unix time at which it expired."""

    public: EllipticCurvePublicKey
    expired_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaidJwt:
    """A JWT, signed with ES256 and nothing else, that holds the SHA-256 of the body.

    The secret is ``client_id:secret`` of the account, with which the verification key is fetched by
    its id and kept for a day; or a key itself as a JWK, which then counts alone. With a private JWK
    ``sign`` works, for tests.

    Attributes:
        header: The header that carries the JWT.
        fetch_key: Returns the JWK of a key id, asked with client id and secret: for the sandbox
            ``functools.partial(fetch_plaid_key, api="https://sandbox.plaid.com")``.
        tolerance: How many seconds the time may lie in the past or in the future; ``None`` for any.
    """

    header: str = "Plaid-Verification"
    fetch_key: Callable[[str, str, str], Jwk] = fetch_plaid_key
    tolerance: float | None = 300.0
    _fetched: KeyCache[_Key] = field(
        default_factory=KeyCache, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        check_header_name(self.header)
        check_tolerance(self.tolerance)

    def load_secret(self, secret: str | bytes) -> bytes:
        require_cryptography("Plaid's JWTs")
        raw = text_key(secret).strip()
        if not _is_jwk(raw):
            if not _ACCOUNT.fullmatch(raw):
                raise ConfigError(f"the secret must be {_LOOKS}")
            return raw
        try:
            _read_key(raw)
            _check_private(json.loads(raw))
        except (ValueError, RecursionError):
            raise ConfigError(f"the secret must be {_LOOKS}") from None
        return raw

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:
        claims = self._claims(message)
        signers = [
            key
            for key in self._keys(claims, secrets)
            if es256_verifies(key.public, claims.signature, claims.signed)
        ]
        digest = hashlib.sha256(message.body).hexdigest().encode()
        if not signers or not hmac.compare_digest(claims.body_hash, digest):
            raise mismatch(self.header)
        if all(key.expired_at is not None and key.expired_at < now for key in signers):
            raise SignatureError("signature_mismatch", "the verification key has expired")
        check_time(claims.issued_at, now, self.tolerance)

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:
        jwk = json.loads(secret) if _is_jwk(secret) else {}
        if "d" not in jwk:
            raise ConfigError("to sign, give a private key of the curve P-256 as JSON (a JWK)")
        head = {"alg": _ALGORITHM, "kid": jwk.get("kid", _TEST_KID), "typ": "JWT"}
        digest = hashlib.sha256(message.body).hexdigest()
        claims = {"iat": int(now), "request_body_sha256": digest}
        signed = b".".join(_encoded(json.dumps(part).encode()) for part in (head, claims))
        signature = _encoded(es256_sign(private_p256_jwk(jwk), signed))
        return {self.header: f"{signed.decode()}.{signature.decode()}"}

    def lacks(self, message: Parsed, secrets: Sequence[bytes]) -> bool:
        try:
            kid = self._claims(message).kid
        except SignatureError:
            return False  # refused without a key
        needed = any(not _is_jwk(secret) for secret in secrets)
        return needed and self._fetched.peek(kid) is None

    def fetch(self, message: Parsed, secrets: Sequence[bytes]) -> None:
        self._keys(self._claims(message), secrets)

    def _claims(self, message: Parsed) -> _Claims:
        return _read_claims(signature_header(message, self.header), self.header)

    def _keys(self, claims: _Claims, secrets: Sequence[bytes]) -> list[_Key]:
        keys = [_read_key(secret) for secret in secrets if _is_jwk(secret)]
        accounts = [secret for secret in secrets if not _is_jwk(secret)]
        if accounts:
            keys.append(self._fetched.get(claims.kid, lambda: self._fetch(claims.kid, accounts)))
        return keys

    def _fetch(self, kid: str, accounts: Sequence[bytes]) -> _Key:
        """Ask with one account's secret after the other: an old one may be revoked."""
        *others, last = (account.decode().partition(":") for account in accounts)
        for client_id, _, secret in others:
            with contextlib.suppress(OSError):
                return _key_of(self.fetch_key(kid, client_id, secret))
        return _key_of(self.fetch_key(kid, last[0], last[2]))


def _read_claims(token: bytes, name: str) -> _Claims:
    signed, _, signature = token.rpartition(b".")
    if signed.count(b".") != 1:
        raise malformed(f"{name} must be a JWT")
    head, claims = (_read_part(part, f"a part of {name}") for part in signed.split(b"."))
    kid, issued_at = head.get("kid"), claims.get("iat")
    body_hash = claims.get("request_body_sha256")
    if head.get("alg") != _ALGORITHM:
        raise malformed(f"{name} must be signed with {_ALGORITHM}")
    if not isinstance(kid, str) or not _KID.fullmatch(kid):
        raise malformed(f"{name} must name its key")
    if type(issued_at) is not int or not 0 <= issued_at < _LATEST:
        raise malformed(f"{name} must hold a unix time as iat")
    if not isinstance(body_hash, str):
        raise malformed(f"{name} must hold request_body_sha256")
    return _Claims(
        kid=kid,
        issued_at=issued_at,
        body_hash=body_hash.encode("ascii", "replace"),
        signature=canonical_base64url(signature, f"the signature of {name}"),
        signed=signed,
    )


def _read_part(part: bytes, what: str) -> dict[str, Any]:
    value = json_text(canonical_base64url(part, what), what)
    if not isinstance(value, dict):
        raise malformed(f"{what} is not a JSON object")
    return value


def _is_jwk(secret: bytes) -> bool:
    return secret.startswith(b"{")


@functools.lru_cache(maxsize=64)
def _read_key(jwk: bytes) -> _Key:
    return _key_of(json.loads(jwk))


def _key_of(jwk: Jwk) -> _Key:
    expired_at = jwk.get("expired_at")
    expires = float(expired_at) if isinstance(expired_at, (int, float)) else None
    return _Key(public_p256_jwk(jwk), expires)


def _check_private(jwk: Jwk) -> None:
    if "d" in jwk:
        private_p256_jwk(jwk)


def _encoded(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
