"""Signatures, checked before anything is claimed or stored."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from ..errors import RejectedDelivery, SignatureError
from ..policy import RETRY_AFTER
from ..providers import Parsed
from ..source import Source

__all__ = ["verify"]

MOST_WAITING = 64


class _Gate:
    """Lets one fetch of a source through at a time."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0


_Gates = WeakKeyDictionary[Source, _Gate]

_gates_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Gates] = WeakKeyDictionary()


async def verify(source: Source, parsed: Parsed, now: float) -> None:
    """Check a signature; fetch the sender's key first if it is not known yet.

    Raises:
        SignatureError: It is missing, malformed, wrong or too old.
        RejectedDelivery: The key cannot be had now (503).
    """
    try:
        if source.lacks_key(parsed):
            await _fetch(source, parsed)
        source.verify(parsed, now)
    except SignatureError as exc:
        if exc.code == "key_unavailable":
            raise _unavailable(exc.detail) from exc
        raise


async def _fetch(source: Source, parsed: Parsed) -> None:
    """Fetch a key in a thread, one at a time for each source."""
    gate = _gate(source)
    if gate.waiting >= MOST_WAITING:  # each holds its body in memory
        raise _unavailable("too many deliveries wait for a key")
    gate.waiting += 1
    try:
        async with gate.lock:
            if source.lacks_key(parsed):
                await asyncio.to_thread(source.fetch_key, parsed)
    finally:
        gate.waiting -= 1


def _gate(source: Source) -> _Gate:
    gates = _gates_by_loop.setdefault(asyncio.get_running_loop(), WeakKeyDictionary())
    return gates.setdefault(source, _Gate())


def _unavailable(detail: str) -> RejectedDelivery:
    return RejectedDelivery(503, "key_unavailable", detail, retry_after=RETRY_AFTER)
