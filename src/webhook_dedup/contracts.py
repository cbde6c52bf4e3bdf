"""The contracts of stores, inboxes, observers and guards, documented here and only here.

The store contract is proven by :class:`webhook_dedup.testing.StoreContract`, that of inboxes by
:class:`webhook_dedup.testing.InboxContract`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from .errors import MissingPower

if TYPE_CHECKING:
    from .guards.passage import Passage
    from .model import Attempt, Bid, Claim, Event, Item, Remembers, Settlement
    from .observe.record import Kind, Record

__all__ = [
    "Choosy",
    "Clock",
    "Closable",
    "Forgetful",
    "Inbox",
    "Inspector",
    "Observer",
    "OperableInbox",
    "PureGuard",
    "Sharing",
    "Sought",
    "Startable",
    "StatefulGuard",
    "Store",
    "Watching",
    "clock_of",
    "need",
    "never_waits",
]


class Clock(Protocol):
    """A source of time for stores that live in this process."""

    def time(self) -> float:
        """Unix time in seconds."""

    def monotonic(self) -> float:
        """Seconds that only ever grow; deadlines are kept in these."""


class Store(Protocol):
    """Where claims live: one atomic check-and-set per key, and the fenced verbs that end it.

    A key is in one of three states: *held* (under a lease), *done* (remembered for a TTL) or
    *absent*. A held key whose lease has run out and a done key whose TTL has run out are absent.
    Nothing is ever stored without an expiry, and nothing live is evicted to make room.

    All times are decided by the store's own clock, never by the caller's.

    Each verb takes a batch. Keys within a batch are distinct and answers come in the order
    asked; a repeated key raises ``ValueError``, as does an empty or blank one. A verb raises
    :class:`~webhook_dedup.errors.StoreUnavailable` when the store cannot be reached. Then it may
    have happened or not: **every verb may be repeated and gives the same answer to the same
    token**, so the caller asks again.

    Any text is a key: thousands of characters, quotes, NUL, braces, lone surrogates.
    """

    name: str
    """What logs and errors call this store, for example ``"redis"``."""
    remembers: Remembers
    """What it keeps beside the bare claim."""

    async def claim(self, bids: Sequence[Bid]) -> Sequence[Claim]:
        """Take each absent key for its bid; say how it stands with the others.

        - absent: held now by the bid's token for its lease. FRESH.
        - held by the bid's own token: still FRESH, with the lease that is left (this is the
          repetition of a bid whose answer was lost).
        - held by another: IN_FLIGHT with the lease left.
        - done: DUPLICATE with holder, result and first-seen time where remembered, also when the
          bid's own token completed it (``holder`` then equals the token).
        - held or done, and both fingerprints are known and differ: MISMATCH.
        """

    async def complete(self, done: Sequence[Settlement]) -> Sequence[bool]:
        """Mark keys done for their TTL, with their results.

        True: the key is done by this token, now or already (a repetition changes nothing).
        False: another token holds it under a live lease or has finished it, and nothing was
        changed. A lease that merely ran out does not make it fail: the work is done.
        The fingerprint and first-seen time of the claim are kept.
        """

    async def release(self, claims: Sequence[Claim]) -> Sequence[bool]:
        """Make held keys absent again.

        True: this token does not hold the key any longer and nobody else does. False: another
        token holds or has finished it, or this token has completed it; nothing was changed.
        """

    async def renew(self, claims: Sequence[Claim], lease: float) -> Sequence[bool]:
        """Let held claims live for ``lease`` seconds from now.

        True only if this token holds the key under a live lease. A lease that ran out is lost.
        """

    async def aclose(self) -> None:
        """Free what the store opened itself. Clients and engines of the user stay open."""


@runtime_checkable
class Startable(Protocol):
    """A store or inbox that can check its surroundings before the first request."""

    async def start(self) -> None:
        """Connect, check and prepare (tables, scripts); may be called again.

        Raises:
            ConfigError: It cannot work as configured; the message says what to change.
            StoreUnavailable: It cannot be reached now.
        """


@runtime_checkable
class Forgetful(Protocol):
    """A store that can forget one key on a person's order."""

    async def forget(self, key: str) -> bool:
        """Make a key absent, whoever holds or finished it. True if it was held or done."""


@runtime_checkable
class Inspector(Protocol):
    """A store that can tell how keys stand without claiming them."""

    async def look(self, keys: Sequence[str]) -> Sequence[Claim | None]:
        """Tell for each key what a bid would have been answered, ``None`` where it is absent.

        The claims are IN_FLIGHT or DUPLICATE, carry no token of their own and change nothing.
        """


def clock_of(store: object) -> Clock | None:
    """Return the ``clock`` of a store that lives in this process, ``None`` of any other.

    A cache of the store's answers goes by the same clock.
    """
    clock = getattr(store, "clock", None)
    return clock if callable(getattr(clock, "monotonic", None)) else None


def never_waits(backend: object) -> bool:
    """Whether the verbs of a store or inbox return without ever suspending.

    Its own class or object says so with ``never_waits = True``. That is not inherited: a derived
    class, or a proxy around it, may wait.
    """
    own = {**vars(type(backend)), **getattr(backend, "__dict__", {})}
    return own.get("never_waits") is True


def need(store: Store, power: Remembers, what: str) -> None:
    """Refuse a feature whose store cannot remember what it needs.

    Raises:
        MissingPower: Names the store and the missing power.
    """
    missing = power & ~store.remembers
    if missing:
        raise MissingPower(
            f"{what} needs a store that remembers {missing.name.lower() if missing.name else what}"
            f"; {store.name} does not. Use memory://, sqlite://, postgresql:// or redis://"
        )


class Sharing(Protocol):
    """A store whose connection an inbox may share, so that it is durable where the store is."""

    @property
    def connection(self) -> Any:
        """The engine or client the store talks through."""

    @property
    def namespace(self) -> str:
        """The table or prefix of the store, from which the inbox takes its own name."""


class Inbox(Protocol):
    """Where accepted deliveries live until they are settled.

    One idea carries it: **an item is due when its due time is past**. ``put`` sets it one lease
    ahead, because the accepting process runs the item at once; a crash lets it come due; a retry
    moves it on. Due times are on the inbox's own clock. Items never expire by themselves.

    An item is *waiting* (to come due, or being run under a lease) or *dead* (a dead letter).
    ``begin``, ``renew``, ``retry``, ``defer`` and ``bury`` act only for the token that holds a
    waiting item and answer False to any other. A token holds from ``put`` or ``take`` until the
    item is taken again (not merely until its lease runs out), retried, buried, or touched by a
    person. Every verb may be repeated after a lost reply: the same call with the same token gives
    the same answer and changes nothing twice.

    Items of one batch are distinct and answers come in the order asked. A verb raises
    :class:`~webhook_dedup.errors.StoreUnavailable` when the inbox cannot be reached; then it may
    have happened or not.
    """

    name: str
    """What logs and errors call this inbox, for example ``"sqlite"``."""
    durable: bool
    """Whether items outlive this process and its machine's restart. Redis knows after start."""

    async def put(self, items: Sequence[Item], lease: float) -> None:
        """Record items, each held by its token for ``lease`` seconds; 0 makes them due at once.

        Returns only when all of them are recorded as durably as the inbox can. An item whose id is
        already there is left as it is, whatever its state. The attempts and the history that an
        item brings along, as when inboxes are merged, are kept.

        Raises:
            StoreUnavailable: They could not be recorded; the senders must be asked to retry.
        """

    async def take(
        self, limit: int, lease: float, *, sources: Collection[str] | None = None
    ) -> Sequence[Item]:
        """Hand over up to ``limit`` due items, each under a new token for ``lease`` seconds.

        The longest due come first. Several processes never take the same item twice. A row that
        cannot be read is set aside (it becomes dead with a history entry that says so, and its id
        is logged) and the rest go on.

        With ``sources`` only what came from these is handed over, however much of others is due
        before; that is not touched. An inbox whose ``take`` has no such parameter is served, too:
        what it hands over of sources that a process does not know is given back.
        """

    async def renew(self, items: Sequence[Item], lease: float) -> Sequence[bool]:
        """Keep held items from coming due for ``lease`` seconds from now."""

    async def begin(self, items: Sequence[Item]) -> Sequence[bool]:
        """Count an attempt, once per hold however often it is called.

        Called before the handler runs and after its claim is FRESH. Until its end is told it counts
        as ``cut_off`` as well: ``retry``, ``defer`` and ``bury`` take off what this hold has begun,
        and nothing takes off what a former hold began, since its process has died.
        """

    async def done(self, items: Sequence[Item]) -> None:
        """Remove items whose events are done, and every dead letter with the same key.

        Needs no token: a delivery whose event is done must never run again. Removing what is not
        there is no error. Waiting items of the same key stay; items without a key (``""``) share
        it with nobody.
        """

    async def retry(self, item: Item, after: float, attempt: Attempt) -> bool:
        """Add a failed attempt to the history and let the item come due in ``after`` seconds.

        Ends the hold: from then on the token can only repeat the call, so that a late renewal does
        not move the retry.
        """

    async def defer(self, item: Item, after: float) -> bool:
        """Let the item come due in ``after`` seconds, marked ``deferred``.

        An attempt begun during this hold is not counted. The token stays good until the item is
        taken again, so a deferral may be changed by deferring again.
        """

    async def bury(self, item: Item, attempt: Attempt) -> bool:
        """Add a failed attempt to the history and keep the item as a dead letter. Ends the hold."""

    async def next_due(self) -> float | None:
        """Seconds until the first waiting item comes due, 0 if one is; ``None`` if none waits."""

    async def aclose(self) -> None:
        """Free what the inbox opened itself."""


@dataclass(frozen=True, slots=True)
class Sought:
    """Which items an operator means. Fields that are ``None`` admit everything.

    Attributes:
        source: Name of the source.
        state: ``"waiting"`` or ``"dead"``.
        older_than: Received at least this many seconds ago.
        younger_than: Received at most this many seconds ago.
        error: Text that the error of the last attempt in the history contains, literally; upper
            and lower case are alike, at least those of ASCII.
        event_id: The provider's event id, exactly.
    """

    source: str | None = None
    state: Literal["waiting", "dead"] | None = None
    older_than: float | None = None
    younger_than: float | None = None
    error: str | None = None
    event_id: str | None = None


class OperableInbox(Inbox, Protocol):
    """An inbox that people can look into and act on."""

    async def find(self, sought: Sought, *, limit: int = 100, after: str = "") -> Sequence[Item]:
        """List items, the oldest received first; ``after`` is the last id of the page before.

        Items received at the same time come in the order of their ids. An ``after`` that is not
        there any more lists from the beginning: a page may come twice then, but none is left out.
        """

    async def get(self, item_id: str) -> Item | None:
        """Return one item with its exact delivery."""

    async def requeue(self, item_ids: Sequence[str]) -> int:
        """Make items due now, not ``deferred``, with ``attempts`` and ``cut_off`` from zero.

        The history stays. Dead letters become waiting again, and tokens given out before hold no
        longer. Returns how many were there.
        """

    async def shelve(self, item_ids: Sequence[str], reason: str) -> int:
        """Make waiting items dead letters on a person's order.

        The reason is added to the history as the error of an attempt that took no time, and tokens
        given out before hold no longer. Returns how many were waiting.
        """

    async def purge(self, item_ids: Sequence[str]) -> int:
        """Delete items for good. Returns how many were there."""

    async def count(self, sought: Sought) -> int:
        """Count items."""


class Observer(Protocol):
    """Receives every record. One that raises is reported once per record and otherwise ignored."""

    def record(self, record: Record) -> None:
        """Take one record. Called on the event loop: return quickly, do no I/O that blocks."""


@runtime_checkable
class Choosy(Protocol):
    """An observer that does not want every record."""

    def wants(self, kind: Kind) -> bool:
        """Whether it wants records of a kind now. Those marked ``warning`` it gets in any case."""


@runtime_checkable
class Closable(Protocol):
    """An observer that has something to end with."""

    async def aclose(self) -> None:
        """Write what is left and free what was opened; it may be started again."""


@runtime_checkable
class Watching(Protocol):
    """An observer that looks into the inbox now and then."""

    def watch(self, inbox: Any) -> None:
        """Look into this inbox from now on."""


@runtime_checkable
class PureGuard(Protocol):
    """A guard that decides by the event alone, before it is recorded or claimed."""

    def skips(self, event: Event, data: Any) -> tuple[str, str] | None:
        """Say why an event is not to be run: a reason as records have it, and a sentence.

        Args:
            event: The event.
            data: Its JSON, that of the item where a delivery brings several; of a form a ``dict``
                of its fields, each with the list of its values; ``None`` where it has neither.
        """


@runtime_checkable
class StatefulGuard(Protocol):
    """A guard that asks others, around the handler, while the event's claim is held."""

    async def run(self, passage: Passage, proceed: Callable[[], Awaitable[Any]]) -> Any:
        """Await ``proceed()`` and return what it returns, or raise instead.

        Raises:
            Skipped: There is nothing to run; the event is done.
            Locked: Not now; the event is run later, uncounted.
            OverBudget: Not without a person; the event is set aside.
        """
