"""Keys that senders publish: fetched within bounds, and kept.

Whoever reaches the endpoint chooses what is asked for, so that all of it is limited: which hosts
(by the schemes), how long and how much one answer may be, how many keys are kept, and how many
requests may fail in a while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ...errors import SignatureError

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

__all__ = ["KeyCache", "fetch_https", "key_unavailable"]

_TIMEOUT = 5.0
_MAX_ANSWER = 65_536
_CHUNK = 8_192
_CAPACITY = 64
_LIFETIME = 24 * 3600.0
_FAILURE_LIFETIME = 5.0
_MAX_FAILURES = 16

Key = TypeVar("Key")


def fetch_https(
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = _TIMEOUT,
) -> bytes:
    """Return what an ``https`` URL answers with status 2xx.

    Raises:
        OSError: It could not be had, it was larger than 64 KiB, or it took longer than
            ``timeout`` seconds.
    """
    if not url.startswith("https://"):
        raise OSError("only https is fetched")
    # They load a lot, and few senders have keys that are fetched.
    from http.client import HTTPException  # noqa: PLC0415 - see above
    from urllib.request import Request  # noqa: PLC0415 - see above

    ends = time.monotonic() + timeout
    request = Request(url, data=body, headers=dict(headers or {}))  # noqa: S310 - https was checked
    try:
        with _opener().open(request, timeout=timeout) as answer:
            return _read(answer.read1, ends)
    except HTTPException as exc:
        raise OSError(f"the answer is no HTTP: {type(exc).__name__}") from exc


def _opener() -> OpenerDirector:
    from urllib.request import HTTPRedirectHandler, build_opener  # noqa: PLC0415 - see above

    class NoRedirects(HTTPRedirectHandler):
        def redirect_request(self, *_: Any, **__: Any) -> None:
            """Follow none: the host was checked, and a redirect would leave it."""

    return build_opener(NoRedirects)


def _read(read: Callable[[int], bytes], ends: float) -> bytes:
    received = bytearray()
    while chunk := read(_CHUNK):
        received += chunk
        if len(received) > _MAX_ANSWER:
            raise OSError(f"the answer is larger than {_MAX_ANSWER:,} bytes")
        if time.monotonic() > ends:
            raise TimeoutError("the answer took too long")
    return bytes(received)


def key_unavailable(detail: str) -> SignatureError:
    """Return the refusal that may be different a little later."""
    return SignatureError("key_unavailable", detail)


class KeyCache(Generic[Key]):
    """Fetched keys by name, for a day; failures for some seconds. Safe for threads.

    Args:
        capacity: How many keys are kept; the one unused for longest goes first.
        clock: Monotonic seconds.
    """

    def __init__(
        self, capacity: int = _CAPACITY, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._capacity = capacity
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, tuple[float, Key]] = {}
        self._failures: dict[str, float] = {}

    def peek(self, name: str) -> Key | None:
        """Return a key that is kept."""
        with self._lock:
            kept = self._keys.pop(name, None)
            if kept is None:
                return None
            self._keys[name] = kept
            expires, key = kept
            return key if expires > self._clock() else None

    def get(self, name: str, load: Callable[[], Key]) -> Key:
        """Return a key that is kept, or load it and keep it.

        Raises:
            SignatureError: ``key_unavailable``: it cannot be loaded, could not some seconds ago,
                or was never loaded before and too many others could not.
        """
        kept = self.peek(name)
        if kept is not None:
            return kept
        self._refuse_after_failures(name)
        try:
            key = load()
        except Exception as exc:
            self._remember_failure(name)
            raise key_unavailable(
                f"the sender's public key cannot be had: {type(exc).__name__}"
            ) from exc
        with self._lock:
            self._keys[name] = (self._clock() + _LIFETIME, key)
            while len(self._keys) > self._capacity:
                del self._keys[next(iter(self._keys))]
        return key

    def _refuse_after_failures(self, name: str) -> None:
        with self._lock:
            now = self._clock()
            self._failures = {one: ends for one, ends in self._failures.items() if ends > now}
            if name in self._failures:
                raise key_unavailable("the sender's public key could not be had a moment ago")
            # Names that were made up must not keep out a key that has only grown too old.
            if len(self._failures) >= _MAX_FAILURES and name not in self._keys:
                raise key_unavailable("too many public keys could not be had a moment ago")

    def _remember_failure(self, name: str) -> None:
        with self._lock:
            self._failures[name] = self._clock() + _FAILURE_LIFETIME
