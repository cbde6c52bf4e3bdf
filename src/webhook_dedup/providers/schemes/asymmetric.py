"""Public-key signatures, made and checked.

Signatures come from strangers, so that every check answers no where ``cryptography`` raises.
"""

# ruff: noqa: PLC0415 - cryptography belongs to an extra, and loads when a secret needs it

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from ...errors import MissingExtra

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

__all__ = [
    "RsaHash",
    "ed25519_public",
    "ed25519_sign",
    "ed25519_verifies",
    "es256_sign",
    "es256_verifies",
    "p256_sign",
    "p256_verifies",
    "require_cryptography",
    "rsa_sign",
    "rsa_verifies",
]

RsaHash = Literal["sha1", "sha256"]

_COORDINATE = 32


def require_cryptography(what: str) -> None:
    """Say at start-up, not at the first delivery, that the package is missing."""
    try:
        found = importlib.util.find_spec("cryptography")
    except ValueError:  # it was loaded from nowhere, or marked as absent
        found = None
    if found is None:
        raise MissingExtra(what, "crypto")


def ed25519_public(seed: bytes) -> bytes:
    """Return the public key of a 32-byte private one."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def ed25519_sign(seed: bytes, signed: bytes) -> bytes:
    """Return the 64-byte signature."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed).sign(signed)


def ed25519_verifies(public: bytes, signature: bytes, signed: bytes) -> bool:
    """Whether the private key of ``public`` made the signature."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return _passes(lambda: Ed25519PublicKey.from_public_bytes(public).verify(signature, signed))


def p256_sign(key: EllipticCurvePrivateKey, signed: bytes) -> bytes:
    """Return the ECDSA signature of the SHA-256 of ``signed``, in DER."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    return key.sign(signed, ECDSA(SHA256()))


def p256_verifies(key: EllipticCurvePublicKey, signature: bytes, signed: bytes) -> bool:
    """Whether the key made the DER signature."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    return _passes(lambda: key.verify(signature, signed, ECDSA(SHA256())))


def es256_sign(key: EllipticCurvePrivateKey, signed: bytes) -> bytes:
    """Return the ECDSA signature as JWTs write it, two numbers of 32 bytes (RFC 7518)."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    numbers = decode_dss_signature(p256_sign(key, signed))
    return b"".join(number.to_bytes(_COORDINATE, "big") for number in numbers)


def es256_verifies(key: EllipticCurvePublicKey, signature: bytes, signed: bytes) -> bool:
    """Whether the key made the 64-byte signature."""
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    if len(signature) != 2 * _COORDINATE:
        return False
    halves = signature[:_COORDINATE], signature[_COORDINATE:]
    der = encode_dss_signature(*(int.from_bytes(half, "big") for half in halves))
    return p256_verifies(key, der, signed)


def rsa_sign(key: RSAPrivateKey, signed: bytes, algorithm: RsaHash) -> bytes:
    """Return the PKCS #1 v1.5 signature."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    return key.sign(signed, PKCS1v15(), _hash(algorithm))


def rsa_verifies(key: RSAPublicKey, signature: bytes, signed: bytes, algorithm: RsaHash) -> bool:
    """Whether the key made the PKCS #1 v1.5 signature."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    return _passes(lambda: key.verify(signature, signed, PKCS1v15(), _hash(algorithm)))


def _passes(check: Callable[[], None]) -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        check()
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def _hash(algorithm: RsaHash) -> HashAlgorithm:
    from cryptography.hazmat.primitives.hashes import SHA1, SHA256

    return SHA1() if algorithm == "sha1" else SHA256()  # noqa: S303 - SNS signs with SHA-1 still
