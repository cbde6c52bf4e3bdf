"""Claims in this process's memory, done keys in a Bloom filter: a few bytes for each."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ..clock import SystemClock
from ..contracts import Clock, Forgetful, Startable, Store
from ..errors import ConfigError, MissingPower
from ..keys import check_keys
from ..model import Bid, Claim, Outcome, Remembers, Settlement
from .confirming import Confirming
from .entry import Entry, answer
from .exact import ExactKeys
from .generations import Generations

__all__ = ["BloomStore"]

_RECENT = 4096
_CAPACITIES = (1, 1_000_000_000)
_ERROR_RATES = (1e-15, 0.1)
_NUMBERS: dict[str, type[int | float]] = {"capacity": int, "error_rate": float}


class BloomStore:
    """Keeps claims exactly and done keys in a Bloom filter. For one process and many keys.

    **A false positive drops a new event**: with probability ``error_rate`` an event that was
    never seen is answered DUPLICATE and does not run. ``confirm=`` removes that.

    Only done keys enter the filter. Held ones are exact, so release and the end of a lease work as
    everywhere. A done key is found for its TTL and up to an eighth of it longer (a quarter where
    the TTLs in use are unequal but within a factor of two); so long may a redelivery past its TTL
    still be skipped. The last few thousand completions are known exactly as well. Of older ones the
    filter does not tell who finished them, so:

    - ``complete`` answers True when the filter finds the key: nearly always this is the token that
      completed it, asking again. A worker that wakes after another has finished its event and
      thousands of others were finished since is not told; there is nothing it could overwrite.
    - ``release`` answers False then, as the next claim will find the key done.

    With ``confirm=`` every completion is written to that store, and it decides about each key the
    filter finds. All others are claimed without asking it, so what it knows from an earlier run or
    from another process does not count: the filter starts empty, here and in every process.

    Ids are hashed with a random key of this instance, so that no sender can craft collisions.

    Args:
        capacity: Done keys expected at a time, at 4 bytes each for the default error rate. More
            are remembered all the same, within the same rate, for more memory and time.
        error_rate: The chance that a new key is taken for a done one.
        confirm: The store to ask about keys the filter finds. It is started and closed with this
            one.
        clock: Time source; tests pass :class:`webhook_dedup.testing.FakeClock`.

    Raises:
        ConfigError: ``capacity`` or ``error_rate`` is out of range.
    """

    name = "bloom"

    def __init__(
        self,
        *,
        capacity: int = 1_000_000,
        error_rate: float = 1e-4,
        confirm: Store | None = None,
        clock: Clock | None = None,
    ) -> None:
        _check_range("capacity", capacity, _CAPACITIES)
        _check_range("error_rate", error_rate, _ERROR_RATES)
        self.remembers = Remembers.NOTHING if confirm is None else confirm.remembers
        self._confirm = confirm
        self._confirming = Confirming(confirm)
        self.clock = clock or SystemClock()
        self._hasher = blake2b(key=secrets.token_bytes(32), digest_size=16)
        self._known = ExactKeys(_RECENT)
        self._done = Generations(capacity, error_rate)

    @classmethod
    def from_url(
        cls, url: str, *, confirm: Store | None = None, clock: Clock | None = None
    ) -> BloomStore:
        """Make a store from ``bloom://?capacity=1000000&error_rate=1e-4``, both optional.

        Raises:
            ConfigError: The URL says something else.
        """
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = options.keys() - _NUMBERS.keys()
        if parts.scheme != "bloom" or parts.netloc or parts.path.strip("/") or unknown:
            shown = url.rpartition("@")[2]  # a password may be before it
            raise ConfigError(f"{shown!r}: write bloom://?capacity=1000000&error_rate=1e-4")
        numbers = {name: _number(name, text) for name, text in options.items()}
        return cls(**numbers, confirm=confirm, clock=clock)

    @property
    def bits(self) -> int:
        """The size of the filters that are live now."""
        return self._done.bits

    async def start(self) -> None:
        """Start the confirming store."""
        if isinstance(self._confirm, Startable):
            await self._confirm.start()

    async def claim(self, bids: Sequence[Bid]) -> Sequence[Claim]:
        check_keys(bid.key for bid in bids)
        now = self.clock.monotonic()
        self._known.sweep(now, len(bids))
        return await self._confirming.settle(
            bids,
            [self._claim(bid, now) for bid in bids],
            ask=lambda confirm, unsure: confirm.claim(unsure),
            learn=lambda bid, claim: self._adopt(bid, claim, now),
        )

    def _claim(self, bid: Bid, now: float) -> Claim | None:
        ident = self._ident(bid.key)
        entry = self._known.get(ident, now)
        if entry is None and not self._may_be_done(bid.key, ident, now):
            entry = self._hold(ident, bid, now)
        if entry is not None:
            return answer(entry, bid, now)
        if self._confirm is not None:
            return None
        return Claim(bid.key, bid.token, Outcome.DUPLICATE, bid.fingerprint, done=True)

    def _hold(self, ident: str, bid: Bid, now: float) -> Entry:
        dated = Remembers.FIRST_SEEN in self.remembers
        compared = Remembers.FINGERPRINT in self.remembers
        entry = Entry(
            token=bid.token,
            expires_at=now + bid.lease,
            first_seen=self.clock.time() if dated else None,
            fingerprint=bid.fingerprint if compared else None,
        )
        self._known.put(ident, entry)
        return entry

    def _adopt(self, bid: Bid, claim: Claim, now: float) -> None:
        """Hold here too what the confirming store has just granted: the filter was wrong."""
        if claim.fresh:
            expires_at = now + claim.remaining
            entry = Entry(bid.token, expires_at, claim.first_seen, bid.fingerprint, confirmed=True)
            self._known.put(self._ident(bid.key), entry)

    async def complete(self, done: Sequence[Settlement]) -> Sequence[bool]:
        check_keys(settlement.key for settlement in done)
        now = self.clock.monotonic()
        return await self._confirming.settle(
            done,
            [self._complete(settlement, now) for settlement in done],
            ask=lambda confirm, unsure: confirm.complete(unsure),
            # A refused one as well: the confirming store knows the key and must be asked for it.
            learn=lambda settlement, _: self._finish(settlement, self.clock.monotonic()),
        )

    def _complete(self, settlement: Settlement, now: float) -> bool | None:
        entry = self._known.get(self._ident(settlement.key), now)
        if entry is not None and entry.token != settlement.claim.token:
            return False
        if self._confirm is not None:
            return None
        if entry is None or not entry.done:
            self._finish(settlement, now)
        return True

    def _finish(self, settlement: Settlement, now: float) -> None:
        ident, token = self._ident(settlement.key), settlement.claim.token
        self._done.drop_past(now)
        self._done.add(ident, settlement.ttl, now)
        if self._confirm is None:
            self._known.put(ident, Entry(token, now + settlement.ttl, done=True))
        else:
            self._known.drop(ident, token)

    async def release(self, claims: Sequence[Claim]) -> Sequence[bool]:
        check_keys(claim.key for claim in claims)
        now = self.clock.monotonic()
        return await self._confirming.settle(
            claims,
            [self._release(claim, now) for claim in claims],
            ask=lambda confirm, unsure: confirm.release(unsure),
            learn=lambda claim, _: self._known.drop(self._ident(claim.key), claim.token),
        )

    def _release(self, claim: Claim, now: float) -> bool | None:
        ident = self._ident(claim.key)
        entry = self._known.get(ident, now)
        if entry is None and not self._may_be_done(claim.key, ident, now):
            return True
        if entry is None:
            return None if self._confirm is not None else False
        if entry.done or entry.token != claim.token:
            return False
        if entry.confirmed:
            return None
        self._known.drop(ident, claim.token)
        return True

    async def renew(self, claims: Sequence[Claim], lease: float) -> Sequence[bool]:
        check_keys(claim.key for claim in claims)
        now = self.clock.monotonic()
        return await self._confirming.settle(
            claims,
            [self._renew(claim, now + lease, now) for claim in claims],
            ask=lambda confirm, unsure: confirm.renew(unsure, lease),
            learn=lambda claim, renewed: self._extend(claim, now + (lease if renewed else 0)),
        )

    def _renew(self, claim: Claim, until: float, now: float) -> bool | None:
        entry = self._known.get(self._ident(claim.key), now)
        if entry is None or entry.done or entry.token != claim.token:
            return False
        if entry.confirmed:
            return None
        self._extend(claim, until)
        return True

    def _extend(self, claim: Claim, until: float) -> None:
        self._known.extend(self._ident(claim.key), claim.token, until)

    async def forget(self, key: str) -> bool:
        """Make a key absent, which takes a confirming store that can.

        Raises:
            MissingPower: A filter alone cannot forget a single key.
        """
        if not isinstance(self._confirm, Forgetful):
            raise MissingPower(
                "a bloom store cannot forget a single key; give it confirm= a store that can"
            )
        kept = await self._confirm.forget(key)
        return self._known.forget(self._ident(key), self.clock.monotonic()) or kept

    async def aclose(self) -> None:
        """Forget everything and close the confirming store."""
        self._known.clear()
        self._done.clear()
        if self._confirm is not None:
            await self._confirm.aclose()

    def _may_be_done(self, key: str, ident: str, now: float) -> bool:
        self._done.drop_past(now)
        return ident in self._done or self._confirming.is_asked_about(key)

    def _ident(self, key: str) -> str:
        hasher = self._hasher.copy()
        hasher.update(key.encode("utf-8", "surrogatepass"))
        return hasher.hexdigest()


def _number(name: str, text: str) -> Any:
    kind = _NUMBERS[name]
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise ConfigError(
            f"{name}={text!a} is not {what}; write bloom://?capacity=1000000&error_rate=1e-4"
        ) from None


def _check_range(name: str, value: float, allowed: tuple[float, float]) -> None:
    lowest, highest = allowed
    if not lowest <= value <= highest:
        raise ConfigError(f"{name}={value!r}: give a number from {lowest:,} to {highest:,}")
