"""Keys of every kind that a signature scheme takes, made here."""

from __future__ import annotations

import base64
import datetime as dt
import functools

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

__all__ = ["Ed25519Pair", "P256Pair", "certificate", "rsa_pem"]


@functools.cache
def rsa_key() -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=2048)


def rsa_pem() -> str:
    """Return the one private RSA key of this process."""
    pem = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem.decode()


@functools.cache
def certificate(common_name: str, start: float, end: float) -> bytes:
    """Return a certificate for the RSA key, valid between two unix times."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    built = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=rsa_key().public_key(),
        serial_number=1,
        not_valid_before=dt.datetime.fromtimestamp(start, dt.timezone.utc),
        not_valid_after=dt.datetime.fromtimestamp(end, dt.timezone.utc),
    )
    return built.sign(rsa_key(), hashes.SHA256()).public_bytes(Encoding.PEM)


class Ed25519Pair:
    """A key pair made of a seed."""

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self.public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()

    @property
    def pair(self) -> bytes:
        return self.seed + self.public


class P256Pair:
    """A key pair made of a number."""

    def __init__(self, number: int) -> None:
        self.key: EllipticCurvePrivateKey = derive_private_key(number, SECP256R1())

    @property
    def private_der(self) -> str:
        return _text(self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))

    @property
    def public_der(self) -> str:
        key = self.key.public_key()
        return _text(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    @property
    def public_jwk(self) -> dict[str, object]:
        point = self.key.public_key().public_numbers()
        numbers = {"x": _number(point.x), "y": _number(point.y)}
        return {"kty": "EC", "crv": "P-256", "kid": "k1", **numbers}

    @property
    def private_jwk(self) -> dict[str, object]:
        return {**self.public_jwk, "d": _number(self.key.private_numbers().private_value)}


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _number(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()
