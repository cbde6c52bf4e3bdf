"""Public and private keys as they are written: DER, PEM, certificates and JWKs.

Whatever cannot be read, or is a key of another kind, is a ``ValueError``.
"""

# ruff: noqa: PLC0415 - cryptography belongs to an extra, and loads when a secret needs it
# ruff: noqa: TRY004 - a key of another kind is as wrong as an unreadable one

from __future__ import annotations

import base64
import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

__all__ = [
    "Certificate",
    "Jwk",
    "private_p256",
    "private_p256_jwk",
    "private_rsa",
    "public_p256",
    "public_p256_jwk",
    "public_rsa",
    "read_certificate",
]

Jwk = dict[str, Any]

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A public key, and for how long and for whom it is vouched for.

    Attributes:
        key: The key.
        not_before: Unix time.
        not_after: Unix time.
        common_name: Whom the certificate names; empty if it names nobody.
    """

    key: RSAPublicKey
    not_before: float = float("-inf")
    not_after: float = float("inf")
    common_name: str = ""


@contextlib.contextmanager
def _unreadable_is_value_error() -> Iterator[None]:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        yield
    except (UnsupportedAlgorithm, TypeError) as exc:  # TypeError: it is encrypted
        raise ValueError(str(exc)) from None


@functools.lru_cache(maxsize=64)
@_unreadable_is_value_error()
def public_p256(der: bytes) -> EllipticCurvePublicKey:
    """Return the public key in DER, of a private one if it is that."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(der)
    except ValueError:
        key = private_p256(der).public_key()
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise ValueError("not a key of the curve P-256")
    return key


@_unreadable_is_value_error()
def private_p256(der: bytes) -> EllipticCurvePrivateKey:
    """Return the private key in DER."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    key = load_der_private_key(der, password=None)
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise ValueError("not a private key of the curve P-256")
    return key


def public_p256_jwk(jwk: Jwk) -> EllipticCurvePublicKey:
    """Return the public key in a JWK."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers

    if (jwk.get("kty"), jwk.get("crv")) != ("EC", "P-256"):
        raise ValueError("not a key of the curve P-256")
    x, y = _number(jwk, "x"), _number(jwk, "y")
    return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()


def private_p256_jwk(jwk: Jwk) -> EllipticCurvePrivateKey:
    """Return the private key in a JWK."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key

    return derive_private_key(_number(jwk, "d"), SECP256R1())


@functools.lru_cache(maxsize=64)
@_unreadable_is_value_error()
def public_rsa(pem: bytes) -> Certificate:
    """Return the public key in a certificate, a public or a private key in PEM."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if pem.startswith(_CERTIFICATE):
        return read_certificate(pem)
    private = private_rsa(pem)
    key = load_pem_public_key(pem) if private is None else private.public_key()
    if not isinstance(key, RSAPublicKey):
        raise ValueError("not an RSA key")
    return Certificate(key)


def private_rsa(pem: bytes) -> RSAPrivateKey | None:
    """Return the private key in PEM, or ``None`` if that is no such key, or an encrypted one."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        with _unreadable_is_value_error():
            key = load_pem_private_key(pem, password=None)
    except ValueError:
        return None
    return key if isinstance(key, RSAPrivateKey) else None


@_unreadable_is_value_error()
def read_certificate(pem: bytes) -> Certificate:
    """Return what counts of a certificate in PEM."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509 import load_pem_x509_certificate
    from cryptography.x509.oid import NameOID

    found = load_pem_x509_certificate(pem)
    key = found.public_key()
    if not isinstance(key, RSAPublicKey):
        raise ValueError("not an RSA key")
    names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Certificate(
        key=key,
        not_before=found.not_valid_before_utc.timestamp(),
        not_after=found.not_valid_after_utc.timestamp(),
        common_name=str(names[0].value) if names else "",
    )


def _number(jwk: Jwk, name: str) -> int:
    text = jwk.get(name)
    if not isinstance(text, str):
        raise ValueError(f"the key has no {name}")
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")
