"""The reasons for which a signature is refused. None quotes a secret, a signature or a body."""

from __future__ import annotations

from ...errors import SignatureError
from .digests import digest_looks, is_digest

__all__ = ["check_digest", "check_time", "malformed", "mismatch", "missing"]


def missing(detail: str) -> SignatureError:
    """Return the refusal of what is not signed."""
    return SignatureError("missing_signature", detail)


def malformed(detail: str) -> SignatureError:
    """Return the refusal of a signature that cannot be read."""
    return SignatureError("malformed_signature", detail)


def mismatch(what: str, covered: str = "the body") -> SignatureError:
    """Return the refusal of a signature over ``covered`` that none of our secrets made."""
    detail = f"{what} does not match {covered} under any of the configured secrets"
    return SignatureError("signature_mismatch", detail)


def check_digest(sent: bytes, name: str, algorithm: str, encoding: str) -> None:
    """Refuse what could be no encoded digest; ``name`` is where it stands."""
    if not is_digest(sent, algorithm, encoding):
        raise malformed(f"{name} must be {digest_looks(algorithm, encoding)}")


def check_time(signed_at: float, now: float, tolerance: float | None) -> None:
    """Refuse what was signed more than ``tolerance`` seconds away from now; ``None`` allows all."""
    if tolerance is None:
        return
    age = now - signed_at
    if age > tolerance:
        detail = f"the delivery was signed {age:.0f} s ago; {tolerance:.0f} s are allowed"
        raise SignatureError("signature_too_old", detail)
    if age < -tolerance:
        detail = f"the delivery was signed {-age:.0f} s in the future; is this machine's clock off?"
        raise SignatureError("signature_in_future", detail)
