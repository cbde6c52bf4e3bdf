"""Secrets for the samples, in the format of each scheme. Public-key schemes get a key pair."""

# ruff: noqa: PLC0415 - cryptography belongs to an extra, and loads when a key pair is made

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from typing import NamedTuple

from ...errors import MissingExtra
from ..schemes import (
    AdyenSignature,
    AnyOf,
    BasicAuth,
    DiscordSignature,
    PayPalSignature,
    PlaidJwt,
    SendGridSignature,
    SignatureScheme,
    SnsSignature,
    StandardWebhooks,
)

__all__ = ["SampleSecret", "make_secret"]


class SampleSecret(NamedTuple):
    """What signs, and what a source verifies with: the same, except for public-key schemes."""

    signing: str
    verifying: str


def make_secret(scheme: SignatureScheme) -> SampleSecret:
    """Return a new secret of the format that a scheme wants.

    Raises:
        MissingExtra: It is a key pair, and ``cryptography`` is not installed.
    """
    first = scheme.schemes[0] if isinstance(scheme, AnyOf) else scheme
    try:
        secret = _MAKERS.get(type(first), _text)()
    except ModuleNotFoundError as exc:
        raise MissingExtra("key pairs", "crypto") from exc
    return secret if isinstance(secret, SampleSecret) else SampleSecret(secret, secret)


def _text() -> str:
    return secrets.token_hex(16)


def _whsec() -> str:
    return "whsec_" + _base64(secrets.token_bytes(24))


def _ed25519() -> SampleSecret:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw().hex()
    return SampleSecret(key.private_bytes_raw().hex() + public, public)


def _p256() -> SampleSecret:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    key = generate_private_key(SECP256R1())
    der = form.Encoding.DER
    private = key.private_bytes(der, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = key.public_key().public_bytes(der, form.PublicFormat.SubjectPublicKeyInfo)
    return SampleSecret(_base64(private), _base64(public))


def _rsa(name: str) -> SampleSecret:
    """Return keys in PEM behind the name of what is signed for, as SNS and PayPal have it."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    key = generate_private_key(public_exponent=65537, key_size=2048)
    pem = form.Encoding.PEM
    private = key.private_bytes(pem, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = key.public_key().public_bytes(pem, form.PublicFormat.SubjectPublicKeyInfo)
    return SampleSecret(f"{name}\n{private.decode()}", f"{name}\n{public.decode()}")


def _jwk() -> SampleSecret:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    numbers = generate_private_key(SECP256R1()).private_numbers()
    point = numbers.public_numbers
    public = {"kty": "EC", "crv": "P-256", "x": _coordinate(point.x), "y": _coordinate(point.y)}
    private = {**public, "d": _coordinate(numbers.private_value)}
    return SampleSecret(json.dumps(private), json.dumps(public))


def _coordinate(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


_MAKERS: dict[type, Callable[[], str | SampleSecret]] = {
    AdyenSignature: lambda: secrets.token_hex(32),
    BasicAuth: lambda: f"sender:{_text()}",
    DiscordSignature: _ed25519,
    PayPalSignature: lambda: _rsa("4JH86294D6297924G"),
    PlaidJwt: _jwk,
    SendGridSignature: _p256,
    SnsSignature: lambda: _rsa("arn:aws:sns:us-east-1:123456789012:samples"),
    StandardWebhooks: _whsec,
}
