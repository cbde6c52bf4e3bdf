"""Bloom filters that forget: one for each window of expiry times, dropped when the window is past.

Keys whose TTLs end within the same window share a generation, so a key is never forgotten before
its TTL and is remembered for at most one window longer. A window spans an eighth of the TTL.

All live generations together stay within one error rate. Each new one takes an eighth of what is
not assigned yet, and what it took returns when it is dropped. In a steady state with ``n`` live
generations each has about ``1 / (n + 8)`` of the whole, and no number of them can exceed it.
"""

from __future__ import annotations

import logging
import math

from ..errors import MissingExtra

try:
    from pybloom_live import BloomFilter  # type: ignore[import-untyped]  # ships no type hints
except ImportError as exc:
    raise MissingExtra("bloom:// stores", "bloom") from exc

__all__ = ["Generation", "Generations"]

logger = logging.getLogger("webhook_dedup")

_WINDOWS_PER_TTL = 8
_SHARE = 1 / 8
_HEADROOM = 17 / 16  # an even load must not spill over because one window got a few keys more
_SMALLEST = 64


class Generation:
    """Up to ``room`` keys with a chance of at most ``rate`` to find another one among them."""

    __slots__ = ("_filter", "_rows", "latest", "rate", "room")

    def __init__(self, room: int, rate: float) -> None:
        self.room = room
        self.rate = rate
        self.latest = -math.inf
        self._filter = _fitted(room, rate)
        self._rows = range(0, self._filter.num_bits, self._filter.bits_per_slice)

    def __len__(self) -> int:
        return int(self._filter.count)

    @property
    def full(self) -> bool:
        """Whether one more key would exceed the rate."""
        return len(self) >= self.room

    @property
    def bits(self) -> int:
        """Size of the bit array."""
        return int(self._filter.num_bits)

    def add(self, ident: str, expires_at: float) -> None:
        """Take in a key that must be found until ``expires_at``."""
        self._filter.add(ident, skip_check=True)  # so that each one counts, also one found before
        self.latest = max(self.latest, expires_at)

    @property
    def family(self) -> tuple[str, int]:
        """Generations of one family hash alike: one with fewer rows uses the first hashes."""
        return (self._filter.hashfn().name, self._filter.bits_per_slice)

    @property
    def rows(self) -> int:
        """How many hashes it uses."""
        return len(self._rows)

    def hashes(self, ident: str) -> tuple[int, ...]:
        """Return where a key's bit is in each row."""
        return tuple(self._filter.make_hashes(ident))

    def holds(self, hashes: tuple[int, ...]) -> bool:
        """Whether the key of these hashes may be among its keys."""
        bits = self._filter.bitarray
        for start, bit in zip(self._rows, hashes, strict=False):  # noqa: SIM110 - hottest line: all() costs thrice
            if not bits[start + bit]:
                return False
        return True


class Generations:
    """Which keys are done, for their TTLs, within one error rate.

    Args:
        capacity: Keys expected to be live at a time for one TTL. More are taken in all the same,
            within the same error rate, for more memory.
        error_rate: The chance that a key that was never added is found.
    """

    def __init__(self, capacity: int, error_rate: float) -> None:
        self._capacity = capacity
        self._error_rate = error_rate
        self._room = max(_SMALLEST, math.ceil(capacity * _HEADROOM / _WINDOWS_PER_TTL))
        self._spans: dict[int, float] = {}  # by the magnitude of the TTL
        self._windows: dict[tuple[float, int], list[Generation]] = {}
        self._live: list[Generation] = []
        self._families: list[list[Generation]] = []
        self._next_end = math.inf
        self._warned = False

    def __len__(self) -> int:
        """Return how many keys are kept, those of past TTLs in live generations included."""
        return sum(map(len, self._live))

    @property
    def rate(self) -> float:
        """The rates of all live generations together; never above the error rate."""
        return math.fsum(generation.rate for generation in self._live)

    @property
    def bits(self) -> int:
        """The size of all live generations together."""
        return sum(generation.bits for generation in self._live)

    def __contains__(self, ident: str) -> bool:
        for family in self._families:
            hashes = family[0].hashes(ident)
            for generation in family:
                if generation.holds(hashes):
                    return True
        return False

    def add(self, ident: str, ttl: float, now: float) -> None:
        """Remember a key for at least ``ttl`` seconds and at most an eighth more.

        It is up to a quarter more where the TTLs in use are unequal but within a factor of two.
        """
        if ttl <= 0:
            return
        # TTLs of like magnitude share windows, so that a short one is not kept as long as a long
        # one, and TTLs that vary from key to key do not open a window each.
        span = self._spans.setdefault(math.frexp(ttl)[1], ttl / _WINDOWS_PER_TTL)
        expires_at = now + ttl
        self._open(span, math.floor(expires_at / span)).add(ident, expires_at)
        self._next_end = min(self._next_end, expires_at)

    def drop_past(self, now: float) -> None:
        """Drop every generation whose newest key is past its TTL."""
        if now < self._next_end:
            return
        windows = {
            window: live
            for window, generations in self._windows.items()
            if (live := [generation for generation in generations if generation.latest > now])
        }
        self._windows = windows
        self._keep([generation for live in windows.values() for generation in live])
        self._next_end = min((generation.latest for generation in self._live), default=math.inf)

    def clear(self) -> None:
        """Forget every key."""
        self._windows.clear()
        self._keep([])

    def _keep(self, live: list[Generation]) -> None:
        """Replace the live generations; group them so that a key is hashed once for a family."""
        self._live = live
        families: dict[tuple[str, int], list[Generation]] = {}
        for generation in sorted(live, key=lambda each: each.rows, reverse=True):
            families.setdefault(generation.family, []).append(generation)
        self._families = list(families.values())

    def _open(self, span: float, index: int) -> Generation:
        """Return the window's generation that takes keys in, a new one if need be."""
        generations = self._windows.setdefault((span, index), [])
        if not generations or generations[-1].full:
            room = self._room_for(generations, self._windows.get((span, index - 1), []))
            generation = Generation(room, self._share())
            generations.append(generation)
            self._keep([*self._live, generation])
            self._warn_when_crowded()
        return generations[-1]

    def _room_for(self, earlier: list[Generation], previous: list[Generation]) -> int:
        """Begin a window as large as the previous one grew; let a full one grow by half."""
        if earlier:
            return max(self._room, sum(map(len, earlier))) // 2
        return max(self._room, sum(map(len, previous)))

    def _share(self) -> float:
        """Take a new generation's rate out of what is not assigned.

        A power of two: then generations of one room have rows of one length, so that a key is
        hashed once for all of them, and sums of rates are exact.
        """
        free = (self._error_rate - self.rate) * _SHARE
        return math.ldexp(1.0, math.frexp(free)[1] - 1)

    def _warn_when_crowded(self) -> None:
        if self._warned or len(self) <= self._capacity * (1 + 1 / _WINDOWS_PER_TTL):
            return
        self._warned = True
        logger.warning(
            "the bloom store holds more keys than its capacity of %d; nothing is forgotten and the "
            "error rate holds, but each claim costs more: give it a larger capacity",
            self._capacity,
        )


def _fitted(room: int, rate: float) -> BloomFilter:
    """Make a filter that keeps to ``rate`` when it holds ``room`` keys.

    BloomFilter picks bits by ``hash % row``, which favours the lower ones in some sizes, and
    rounds its number of rows up: both can cost it up to a third of its rate. A little more
    capacity makes up for that.
    """
    fitted = BloomFilter(room, rate)
    while _expected_rate(fitted, room) > rate:
        fitted = BloomFilter(fitted.capacity + fitted.capacity // 64 + 1, rate)
    return fitted


def _expected_rate(bloom: BloomFilter, keys: int) -> float:
    row = bloom.bits_per_slice
    hashes = 1 << (64 if row >= 1 << 31 else 32 if row >= 1 << 15 else 16)
    each, favoured = divmod(hashes, row)
    hit = sum(
        bits * chance * -math.expm1(keys * math.log1p(-chance))
        for bits, chance in ((favoured, (each + 1) / hashes), (row - favoured, each / hashes))
    )
    return float(hit**bloom.num_slices)
