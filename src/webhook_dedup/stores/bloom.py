"""Claims in this process's memory, done keys in a Bloom filter: a few bytes for each."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Protocol, TypeVar
from urllib.parse import parse_qsl, urlsplit

from ..clock import SystemClock
from ..contracts import Clock, Forgetful, Startable, Store
from ..errors import ConfigError, MissingPower
from ..model import Bid, Claim, Outcome, Remembers, Settlement
from .exact import Entry, Ledger, answer
from .generations import Generations
from .keys import check_keys

__all__ = ["BloomStore"]

_RECENT = 4096
_CAPACITIES = (1, 1_000_000_000)
_ERROR_RATES = (1e-15, 0.1)


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...


_Asked = TypeVar("_Asked", bound=_Keyed)
_Answer = TypeVar("_Answer")
_Number = TypeVar("_Number", int, float)


class BloomStore:
    """Keeps claims exactly and done keys in a Bloom filter. For one process and many keys.

    **A false positive drops a new event**: with probability ``error_rate`` an event that was
    never seen is answered DUPLICATE and does not run. ``confirm=`` removes that.

    Only done keys enter the filter; held ones are exact, so release and the end of a lease work
    as everywhere. A done key is remembered for its TTL and then, at most, for a quarter of it more
    (an eighth where the TTLs in use do not differ by less than a factor of two): so much later
    than its TTL a redelivery may still be skipped. The filter cannot tell who finished a key.
    The last few thousand completions are therefore kept exactly too, and beyond them:

    - ``complete`` answers True also when the filter finds the key. Most likely this token
      completed it before; a holder so late that another has finished the event and thousands more
      were finished since is not told apart, and overwrites nothing, since nothing is stored.
    - ``release`` answers False, as the next claim will find the key done.

    With ``confirm=`` every completion is written to that store, and it decides about each key that
    the filter finds; the others are claimed without asking it. Both must see the same events:
    the filter starts empty, and what the confirming store knows from an earlier run, or from
    another process, is not looked up.

    Ids are hashed with a random key of this instance, so that no sender can craft collisions.

    Args:
        capacity: Done keys expected at a time. More are remembered all the same, within the
            same error rate, for more memory.
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
        self._clock = clock or SystemClock()
        self._hasher = blake2b(key=secrets.token_bytes(32), digest_size=16)
        self._known = Ledger(_RECENT)
        self._done = Generations(capacity, error_rate)
        self._asking: Counter[str] = Counter()

    @classmethod
    def from_url(cls, url: str) -> BloomStore:
        """Make a store from ``bloom://?capacity=1000000&error_rate=1e-4``, both optional.

        Raises:
            ConfigError: The URL says something else.
        """
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = options.keys() - {"capacity", "error_rate"}
        if parts.scheme != "bloom" or parts.netloc or parts.path.strip("/") or unknown:
            raise ConfigError(f"{url!r}: write bloom://?capacity=1000000&error_rate=1e-4")
        return cls(
            capacity=_number("capacity", options.get("capacity", "1000000"), int),
            error_rate=_number("error_rate", options.get("error_rate", "1e-4"), float),
        )

    async def start(self) -> None:
        """Start the confirming store."""
        if isinstance(self._confirm, Startable):
            await self._confirm.start()

    async def claim(self, bids: Sequence[Bid]) -> Sequence[Claim]:
        check_keys(bid.key for bid in bids)
        now = self._clock.monotonic()
        self._known.sweep(now, len(bids))
        return await self._confirmed(
            bids,
            [self._claim(bid, now) for bid in bids],
            ask=lambda confirm, open_bids: confirm.claim(open_bids),
            learn=lambda bid, claim: self._adopt(bid, claim, now),
        )

    def _claim(self, bid: Bid, now: float) -> Claim | None:
        ident = self._ident(bid.key)
        entry = self._known.get(ident, now)
        if entry is None and not self._may_be_done(ident, now):
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
            first_seen=self._clock.time() if dated else None,
            fingerprint=bid.fingerprint if compared else None,
        )
        self._known.put(ident, entry)
        return entry

    def _adopt(self, bid: Bid, claim: Claim, now: float) -> None:
        """Hold here too what the confirming store has just granted: the filter was wrong."""
        if claim.fresh:
            expires_at = now + (claim.remaining or bid.lease)
            entry = Entry(bid.token, expires_at, claim.first_seen, bid.fingerprint, confirmed=True)
            self._known.put(self._ident(bid.key), entry)

    async def complete(self, done: Sequence[Settlement]) -> Sequence[bool]:
        check_keys(settlement.key for settlement in done)
        now = self._clock.monotonic()
        return await self._confirmed(
            done,
            [self._complete(settlement, now) for settlement in done],
            ask=lambda confirm, open_: confirm.complete(open_),
            # A refused one as well: the confirming store knows the key and must be asked for it.
            learn=lambda settlement, _: self._finish(settlement, self._clock.monotonic()),
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
        now = self._clock.monotonic()
        return await self._confirmed(
            claims,
            [self._release(claim, now) for claim in claims],
            ask=lambda confirm, open_: confirm.release(open_),
            learn=lambda claim, _: self._known.drop(self._ident(claim.key), claim.token),
        )

    def _release(self, claim: Claim, now: float) -> bool | None:
        ident = self._ident(claim.key)
        entry = self._known.get(ident, now)
        if entry is None and not self._may_be_done(ident, now):
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
        now = self._clock.monotonic()
        return await self._confirmed(
            claims,
            [self._renew(claim, now + lease, now) for claim in claims],
            ask=lambda confirm, open_: confirm.renew(open_, lease),
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
        if self._confirm is None or not isinstance(self._confirm, Forgetful):
            raise MissingPower(
                "a bloom store cannot forget a single key; give it confirm= a store that can"
            )
        kept = await self._confirm.forget(key)
        return self._known.forget(self._ident(key), self._clock.monotonic()) or kept

    async def aclose(self) -> None:
        """Forget everything and close the confirming store."""
        self._known.clear()
        if self._confirm is not None:
            await self._confirm.aclose()

    async def _confirmed(
        self,
        asked: Sequence[_Asked],
        answers: list[_Answer | None],
        *,
        ask: Callable[[Store, Sequence[_Asked]], Awaitable[Sequence[_Answer]]],
        learn: Callable[[_Asked, _Answer], None],
    ) -> Sequence[_Answer]:
        """Let the confirming store fill in the answers left open, and learn from what it says.

        When it fails nothing is learned, and the caller repeats the verb.
        """
        settled = [each for each in answers if each is not None]
        if self._confirm is None or len(settled) == len(answers):
            return settled
        open_ = [item for item, given in zip(asked, answers, strict=True) if given is None]
        with self._asking_about(open_):
            told = await ask(self._confirm, open_)
            for item, given in zip(open_, told, strict=True):
                learn(item, given)
        rest = iter(told)
        return [next(rest) if given is None else given for given in answers]

    @contextmanager
    def _asking_about(self, items: Sequence[_Keyed]) -> Iterator[None]:
        """Send every bid for these keys to the confirming store as well.

        It alone orders them: a key that is being completed there after its lease ran out here,
        or that leaves the filter meanwhile, must not be granted here at the same time.
        """
        idents = [self._ident(item.key) for item in items]
        self._asking.update(idents)
        try:
            yield
        finally:
            self._asking.subtract(idents)
            for ident in idents:
                if not self._asking[ident]:
                    del self._asking[ident]

    def _may_be_done(self, ident: str, now: float) -> bool:
        self._done.drop_past(now)
        return ident in self._asking or ident in self._done

    def _ident(self, key: str) -> str:
        hasher = self._hasher.copy()
        hasher.update(key.encode("utf-8", "surrogatepass"))
        return hasher.hexdigest()


def _number(name: str, text: str, kind: Callable[[str], _Number]) -> _Number:
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
