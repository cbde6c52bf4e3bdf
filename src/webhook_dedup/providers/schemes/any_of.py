"""One of several schemes, for senders that let the user choose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...errors import ConfigError, SignatureError
from ..parsed import Parsed
from .keys import text_key
from .protocol import SignatureScheme

__all__ = ["AnyOf"]


class AnyOf:
    """Accepts what one of the schemes accepts; each takes the secrets that are in its format.

    ``sign`` signs by the first scheme that takes the secret.

    Args:
        schemes: The schemes, the strongest first. None may fetch keys or seal bodies.
    """

    __slots__ = ("schemes",)

    def __init__(self, *schemes: SignatureScheme) -> None:
        if not schemes:
            raise ConfigError("AnyOf needs at least one scheme")
        self.schemes = schemes

    def __repr__(self) -> str:
        return f"AnyOf({', '.join(map(repr, self.schemes))})"

    def load_secret(self, secret: str | bytes) -> bytes:
        raw = text_key(secret)
        faults = []
        for scheme in self.schemes:
            try:
                scheme.load_secret(raw)
            except ConfigError as exc:
                faults.append(str(exc))
            else:
                return raw
        raise ConfigError(" or ".join(faults))

    def verify(self, message: Parsed, secrets: Sequence[bytes], now: float) -> None:
        refusal = None
        for scheme, keys in self._with_keys(secrets):
            try:
                scheme.verify(message, keys, now)
            except SignatureError as exc:
                if refusal is None or refusal.code == "missing_signature":
                    refusal = exc
            else:
                return
        if refusal is None:
            raise SignatureError("signature_mismatch", "no secret is configured")
        raise refusal

    def sign(self, message: Parsed, secret: bytes, now: float) -> dict[str, str]:
        for scheme, keys in self._with_keys([secret]):
            return scheme.sign(message, keys[0], now)
        raise ConfigError("no scheme takes this secret")

    def _with_keys(
        self, secrets: Sequence[bytes]
    ) -> Iterator[tuple[SignatureScheme, Sequence[bytes]]]:
        for scheme in self.schemes:
            keys = list(_loadable(scheme, secrets))
            if keys:
                yield scheme, keys


def _loadable(scheme: SignatureScheme, secrets: Sequence[bytes]) -> Iterator[bytes]:
    for secret in secrets:
        try:
            yield scheme.load_secret(secret)
        except ConfigError:
            continue
