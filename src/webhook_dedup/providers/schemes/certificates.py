"""RSA keys in certificates that the sender publishes: what SNS and PayPal have in common.

The secret of such a source names what the sender signs for, since its signature alone only proves
that it sent something to somebody. A second line and more may hold a key in PEM (a certificate, a
public or a private key), which then counts in place of the published one: for tests, which have no
other way to sign, and for endpoints without a way out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...errors import ConfigError, SignatureError
from .asymmetric import RsaHash, require_cryptography, rsa_sign, rsa_verifies
from .keyfiles import Certificate, private_rsa, public_rsa
from .keys import text_of
from .refusals import mismatch

__all__ = ["SignedText", "check_signers", "load_named", "sign_text", "split_named"]


@dataclass(frozen=True, slots=True)
class SignedText:
    """What a message says it is signed with."""

    text: bytes
    signature: bytes
    algorithm: RsaHash = "sha256"

    def is_signed_by(self, certificate: Certificate) -> bool:
        """Whether the certificate's key made the signature."""
        return rsa_verifies(certificate.key, self.signature, self.text, self.algorithm)


def check_signers(signers: Sequence[Certificate], now: float, what: str) -> None:
    """Refuse a signature that no certificate made, or none that is valid now."""
    if not signers:
        raise mismatch(what, "what it covers")
    if not any(one.not_before <= now <= one.not_after for one in signers):
        detail = "the certificate that the delivery names is not valid at this time"
        raise SignatureError("signature_mismatch", detail)


def load_named(secret: str | bytes, is_name: Callable[[str], object], looks: str) -> bytes:
    """Return a configured secret: a name, and perhaps a key in PEM on the lines after it."""
    require_cryptography("RSA signatures")
    name, _, pem = (part.strip() for part in text_of(secret, looks).partition("\n"))
    if not is_name(name):
        raise ConfigError(f"the secret must be {looks}")
    if not pem:
        return name.encode()
    try:
        public_rsa(pem.encode())
    except ValueError:
        fault = "the lines after the first must be an RSA key or certificate in PEM"
        raise ConfigError(fault) from None
    return f"{name}\n{pem}".encode()


def split_named(secret: bytes) -> tuple[bytes, Certificate | None]:
    """Return the name in a loaded secret, and the key that goes with it, if any."""
    name, _, pem = secret.partition(b"\n")
    return name, public_rsa(pem) if pem else None


def sign_text(secret: bytes, text: bytes, algorithm: RsaHash) -> bytes:
    """Sign with the private key in a loaded secret."""
    key = private_rsa(secret.partition(b"\n")[2])
    if key is None:
        raise ConfigError("to sign, give the secret and on the next line a private RSA key in PEM")
    return rsa_sign(key, text, algorithm)
