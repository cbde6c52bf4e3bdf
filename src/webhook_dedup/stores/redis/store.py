"""The store itself: the verbs of the contract, one command or one script each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from ...backends.redis.clients import Client
from ...backends.redis.connect import open_client
from ...backends.redis.faults import OldServer, WrongType
from ...backends.redis.hazards import warn_of_hazards
from ...backends.redis.script import Script
from ...backends.redis.start import Start
from ...backends.redis.wire import Answers, Wire
from ...errors import StoreError
from ...keys import check_keys
from ...model import Bid, Claim, Outcome, Remembers, Settlement
from ..entry import Entry, answer, sight
from .scripts import CLAIM, COMPLETE, FOREIGN, LOOK, RELEASE, RENEW, YES
from .values import (
    claim_text,
    fingerprint_field,
    milliseconds,
    parse,
    redis_key,
    result_tail,
    token_field,
)

__all__ = ["RedisStore"]

_FRESH = Outcome.FRESH  # to find it in its class takes a fifth of making a claim


class RedisStore:
    """Keeps claims in Redis (6.2 or newer) or Valkey: alone, behind Sentinel, or a Cluster.

    Args:
        client: An asyncio client of redis-py. It stays the caller's: it is never closed here,
            and its own time-outs and retries apply.
        prefix: What every key in Redis begins with.
        connections: How many commands may be under way at once; the rest wait their turn.

    Raises:
        ConfigError: The client is a blocking one, or none of redis-py's.
    """

    name = "redis"
    remembers = Remembers.ALL

    def __init__(
        self, client: Client, *, prefix: str = "webhook_dedup:", connections: int = 8
    ) -> None:
        self._wire = Wire(client, type(self).__name__, connections)
        self._prefix = prefix
        self._knows_set_nx_get = True  # until the server says otherwise
        self._start = Start(self._check)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        prefix: str | None = None,
        timeout: float = 5.0,
        connections: int = 8,
        **options: Any,
    ) -> RedisStore:
        """Build a store with a client of its own.

        Args:
            url: ``redis://``, ``rediss://`` (TLS), ``unix://``, ``redis+sentinel://host:port
                [,host2:port2]/service[/db]`` or ``redis+cluster://host:port[,…]``; ``valkey``
                and ``valkeys`` mean the same as ``redis`` and ``rediss``. Options of redis-py
                may follow as a query, as may ``prefix``.
            prefix: What every key in Redis begins with.
            timeout: Seconds to wait for a connection or an answer.
            connections: How many commands may be under way at once.
            options: Passed to redis-py, for example ``ssl_ca_certs`` (with Sentinel also
                ``sentinel_username`` and ``sentinel_password``).

        Raises:
            ConfigError: The URL or an option cannot work.
        """
        client, prefix = open_client(
            url, prefix, timeout=timeout, connections=connections, **options
        )
        store = cls(client, prefix=prefix, connections=connections)
        store._wire.own()
        return store

    def __repr__(self) -> str:
        return f"<RedisStore {self._wire.where}>"

    @property
    def connection(self) -> Client:
        """The client, for an inbox beside this store."""
        return self._wire.client

    @property
    def namespace(self) -> str:
        """The prefix of every key."""
        return self._prefix

    async def start(self) -> None:
        self._wire.bind_loop()
        await self._start.demand()

    async def claim(self, bids: Sequence[Bid]) -> Sequence[Claim]:
        check_keys([bid.key for bid in bids])
        if not bids:
            return []
        await self._start.ready()
        now = self._wire.clock.now()
        if now is None or not self._knows_set_nx_get or len(bids) > self._wire.sets_at_once:
            return await self._claim_by_script(bids)
        return await self._claim_at_once(bids, round(now * 1000))

    async def complete(self, done: Sequence[Settlement]) -> Sequence[bool]:
        claims = [settlement.claim for settlement in done]
        return await self._settle(COMPLETE, claims, map(_completion, done))

    async def release(self, claims: Sequence[Claim]) -> Sequence[bool]:
        return await self._settle(RELEASE, claims, ((token_field(each.token),) for each in claims))

    async def renew(self, claims: Sequence[Claim], lease: float) -> Sequence[bool]:
        expiry = milliseconds(lease)
        arguments = ((token_field(claim.token), expiry) for claim in claims)
        return await self._settle(RENEW, claims, arguments)

    async def look(self, keys: Sequence[str]) -> Sequence[Claim | None]:
        check_keys(keys)
        await self._start.ready()
        answers = await self._run(LOOK, keys, ())
        found = [value for each in answers for _, value in each.each()]
        return [
            None if value is None else sight(key, self._found(key, value), now=0.0)
            for key, value in zip(keys, found, strict=True)
        ]

    async def forget(self, key: str) -> bool:
        check_keys([key])
        await self._start.ready()
        return await self._wire.delete(redis_key(self._prefix, key))

    async def aclose(self) -> None:
        await self._wire.aclose()

    async def _check(self) -> None:
        """Log in and try the scripts on a key nobody holds."""
        probe = f"{self._prefix}start".encode("utf-8", "surrogatepass")
        await self._wire.run(RELEASE, [probe], [b"-"])
        await warn_of_hazards(self._wire)

    async def _claim_at_once(self, bids: Sequence[Bid], now: int) -> Sequence[Claim]:
        """Claim with one plain command a key; what is held by anybody is left to the script."""
        try:
            found = await self._wire.set_new(
                self._names([bid.key for bid in bids]),
                [b"held " + claim_text(bid.token, now, bid.fingerprint) for bid in bids],
                [milliseconds(bid.lease) for bid in bids],
            )
        except (OldServer, WrongType) as error:
            self._knows_set_nx_get = not isinstance(error, OldServer)
            return await self._claim_by_script(bids)  # it names the key of a wrong type
        if found.count(None) == len(bids):
            return [_fresh(bid, now / 1000) for bid in bids]
        claims = [self._told(bid, value, now) for bid, value in zip(bids, found, strict=True)]
        held = [bid for bid, claim in zip(bids, claims, strict=True) if claim is None]
        rest = iter(await self._claim_by_script(held))
        return [next(rest) if claim is None else claim for claim in claims]

    def _told(self, bid: Bid, found: bytes | None, now: int) -> Claim | None:
        """Answer a bid by what the plain command found, if that is enough."""
        if found is None:
            return _fresh(bid, now / 1000)
        entry = self._parse(bid.key, found)
        # How much is left of a lease is not written in the value; of a TTL it is.
        return answer(entry, bid, min(now / 1000, entry.expires_at)) if entry.done else None

    async def _claim_by_script(self, bids: Sequence[Bid]) -> Sequence[Claim]:
        answers = await self._run(CLAIM, [bid.key for bid in bids], map(_bid, bids))
        told = ((each.at / 1000, found) for each in answers for _, found in each.each())
        return [
            _fresh(bid, at) if found is None else answer(self._found(bid.key, found), bid, now=0.0)
            for bid, (at, found) in zip(bids, told, strict=True)
        ]

    def _found(self, key: str, found: bytes) -> Entry:
        """Take apart what a script found, with its expiry as the seconds that are left."""
        left, _, value = found.partition(b" ")
        entry = self._parse(key, value)
        entry.expires_at = max(0, int(left)) / 1000
        return entry

    async def _settle(
        self, script: Script, claims: Sequence[Claim], arguments: Iterable[Iterable[bytes]]
    ) -> Sequence[bool]:
        keys = [claim.key for claim in claims]
        check_keys(keys)
        await self._start.ready()
        answers = await self._run(script, keys, arguments)
        return [code == YES for each in answers for code in each.codes]

    async def _run(
        self, script: Script, keys: Sequence[str], arguments: Iterable[Iterable[bytes]]
    ) -> list[Answers]:
        if not keys:
            return []
        words = list(chain.from_iterable(arguments))
        answers = await self._wire.run(script, self._names(keys), words)
        codes = "".join([each.codes for each in answers])
        if FOREIGN in codes:
            raise self._foreign(keys[codes.index(FOREIGN)])
        return answers

    def _names(self, keys: Sequence[str]) -> list[bytes]:
        return [redis_key(self._prefix, key) for key in keys]

    def _parse(self, key: str, value: bytes) -> Entry:
        try:
            return parse(value)
        except ValueError as error:
            raise self._foreign(key) from error

    def _foreign(self, key: str) -> StoreError:
        return StoreError(
            f"{self._wire.where}: the key {redis_key(self._prefix, key)!r} holds something this "
            "library did not write; give the store a prefix of its own"
        )


def _bid(bid: Bid) -> tuple[bytes, ...]:
    """Return what the script ``claim`` is told."""
    return token_field(bid.token), fingerprint_field(bid.fingerprint), milliseconds(bid.lease)


def _completion(settlement: Settlement) -> tuple[bytes, ...]:
    """Return what the script ``complete`` is told."""
    claim = settlement.claim
    first_seen = None if claim.first_seen is None else round(claim.first_seen * 1000)
    return (
        claim_text(claim.token, first_seen, claim.fingerprint),
        milliseconds(settlement.ttl),
        result_tail(settlement.result),
    )


def _fresh(bid: Bid, first_seen: float) -> Claim:
    return Claim(
        bid.key,
        bid.token,
        _FRESH,
        fingerprint=bid.fingerprint,
        first_seen=first_seen,
        remaining=bid.lease,
        holder=bid.token,
    )
