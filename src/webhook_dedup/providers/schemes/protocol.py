"""What a signature scheme does, and the secrets that are given to one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from ...errors import ConfigError
from ..parsed import Parsed

__all__ = ["FetchingScheme", "SealingScheme", "Secrets", "SignatureScheme", "load_secrets"]

Secrets = str | bytes | Sequence[str | bytes]


class SignatureScheme(Protocol):
    """How one family of senders signs.

    One that signs the URL has ``signs_url = True``, so that a source can say what it needs.
    """

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
                ``signature_mismatch``, ``signature_too_old`` or ``signature_in_future``;
                ``missing_url`` from schemes that sign the URL; ``key_unavailable`` from those
                that fetch a key.
        """

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:
        """Return the headers that make the message valid.

        Raises:
            ConfigError: The secret verifies only: a public key, or the name of one.
        """


@runtime_checkable
class SealingScheme(SignatureScheme, Protocol):
    """A scheme whose signature stands in the body."""

    def seal(self, message: Parsed, secret: bytes, now: float) -> bytes:
        """Return the message's body with a valid signature in it.

        ``sign`` is to be called with the sealed body, since a scheme may use both.

        Raises:
            ConfigError: The secret cannot sign.
            SignatureError: The body is none of this sender's, and has no place for a signature.
        """


@runtime_checkable
class FetchingScheme(SignatureScheme, Protocol):
    """A scheme whose sender publishes its keys, so that a key may have to be fetched first.

    ``verify`` fetches by itself. Where that must not block, call ``lacks`` and then ``fetch`` in a
    thread.
    """

    def lacks(self, message: Parsed, secrets: Sequence[bytes]) -> bool:
        """Whether ``verify`` would have to fetch a key for this message."""

    def fetch(self, message: Parsed, secrets: Sequence[bytes]) -> None:
        """Fetch the key and keep it, blocking for some seconds at most.

        Raises:
            SignatureError: With ``malformed_signature`` if the message names a key that cannot be
                genuine, ``key_unavailable`` if the key was not to be had: try again later.
        """


def load_secrets(scheme: SignatureScheme, secret: Secrets) -> tuple[bytes, ...]:
    """Return the keys of one configured secret or several.

    Raises:
        ConfigError: There is none, or one has the wrong format.
    """
    given = _listed(secret)
    if not given:
        raise ConfigError(f"secret={secret!r} holds no secret; give one, or a list of several")
    return tuple(scheme.load_secret(one) for one in given)


def _listed(secret: object) -> list[Any]:
    """Return secrets as a list, read once: an iterator that is empty must not pass for some."""
    if isinstance(secret, (str, bytes)):
        return [secret]
    if isinstance(secret, Mapping) or not isinstance(secret, Iterable):
        raise ConfigError(
            "a secret is text or bytes, or a list of several that are all good for every delivery, "
            f"got {type(secret).__name__}; tenants with secrets of their own get a Source each"
        )
    return list(secret)
