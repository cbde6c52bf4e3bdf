"""Sessions that live in a signed cookie, so that every process knows them and none keeps them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass

__all__ = ["Session", "csrf_token", "opened", "sealed"]


@dataclass(frozen=True, slots=True)
class Session:
    """What a cookie says.

    Attributes:
        role: What its owner may do.
        ends: Unix time.
    """

    role: str
    ends: float


def sealed(role: str, token: str, lifetime: float) -> str:
    """Return the cookie of a new session of ``lifetime`` seconds, signed with its token.

    Whoever takes the token out of use ends its sessions, too.
    """
    said = f"{role}.{int(time.time() + lifetime)}.{secrets.token_hex(16)}"
    return f"{said}.{_signature(said, token)}"


def opened(cookie: str, token: str) -> Session | None:
    """Return the session of a cookie that was signed with a token and has not ended."""
    said, _, signature = cookie.rpartition(".")
    if not hmac.compare_digest(signature.encode(), _signature(said, token).encode()):
        return None
    role, ends, _ = said.split(".")
    return Session(role, float(ends)) if time.time() < float(ends) else None


def csrf_token(visit: str, session: str) -> str:
    """Return what a form must bring along that was given to this visit and session."""
    return hmac.new(visit.encode(), session.encode(), hashlib.sha256).hexdigest()


def _signature(said: str, token: str) -> str:
    key = hashlib.sha256(b"webhook_dedup dashboard session\0" + token.encode()).digest()
    return hmac.new(key, said.encode(), hashlib.sha256).hexdigest()
