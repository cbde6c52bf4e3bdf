"""Every verb takes a batch."""

# ruff: noqa: S101 - a test suite asserts
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pytest

from ...contracts import Store
from ...model import Bid, Claim, Outcome, Remembers, Settlement, new_token
from .case import LONG_LEASE, LONG_TTL, StoreCase, a_key, claim, complete, release, renew

__all__ = ["BatchRules"]

_NO_PRINTS: Mapping[str, bytes | None] = {}
_MANY = 300
_BLANKS = ("", " ", "\t\r\n", "\u00a0\u3000")


class BatchRules(StoreCase):
    """Answers come in the order asked, and a faulty batch changes nothing."""

    async def test_empty_batches_answer_nothing(self, store: Store) -> None:
        """No keys, no answers, no error."""
        assert not await store.claim([])
        assert not await store.complete([])
        assert not await store.release([])
        assert not await store.renew([], LONG_LEASE)

    async def test_answers_come_in_the_order_asked(self, store: Store) -> None:
        """Held, done and absent keys are answered each in its place."""
        held, done, released = [await claim(store, a_key(), fingerprint=b"body") for _ in range(3)]
        assert await complete(store, done)
        assert await release(store, released)
        asked = [held.key, a_key(), done.key, released.key, a_key()]
        fresh, flight, duplicate = Outcome.FRESH, Outcome.IN_FLIGHT, Outcome.DUPLICATE
        expected = [flight, fresh, duplicate, fresh, fresh]
        bids = _bids(asked)
        answers = await store.claim(bids)
        assert [(answer.key, answer.token) for answer in answers] == [
            (bid.key, bid.token) for bid in bids
        ]
        assert [answer.outcome for answer in answers] == expected

    async def test_order_does_not_depend_on_the_keys(self, store: Store) -> None:
        """A batch is answered in its own order, not in that of its keys."""
        keys = sorted(a_key() for _ in range(20))
        await store.claim(_bids(keys[::2]))
        asked = keys[::-1]
        answers = await store.claim(_bids(asked))
        assert [answer.key for answer in answers] == asked
        assert [answer.fresh for answer in answers] == [True, False] * 10

    async def test_verbs_answer_each_claim_for_itself(self, store: Store) -> None:
        """Complete, release and renew refuse the strangers of a batch and serve the others."""
        keys = sorted((a_key() for _ in range(4)), reverse=True)
        held = [await claim(store, key) for key in keys]
        strangers = [await claim(store, each.key) for each in held]
        mixed = [held[0], strangers[1], held[2], strangers[3]]
        assert list(await store.renew(mixed, LONG_LEASE)) == [True, False, True, False]
        settlements = [Settlement(each, LONG_TTL) for each in mixed]
        assert list(await store.complete(settlements)) == [True, False, True, False]
        assert list(await store.renew(held, LONG_LEASE)) == [False, True, False, True]
        assert list(await store.release(held)) == [False, True, False, True]
        later = [await claim(store, each.key) for each in held]
        assert [each.done for each in later] == [True, False, True, False]

    async def test_results_and_ttls_of_a_batch_are_its_items(self, store: Store) -> None:
        """Each settlement of a batch keeps its own TTL and result."""
        short, long, bare = [await claim(store, a_key(), fingerprint=b"body") for _ in range(3)]
        done = [
            Settlement(short, self.ttl, b"short"),
            Settlement(long, LONG_TTL, b"long"),
            Settlement(bare, LONG_TTL),
        ]
        assert list(await store.complete(done)) == [True] * 3
        await self.outlive_ttl()
        again = await store.claim(_bids([short.key, long.key, bare.key]))
        assert [each.fresh for each in again] == [True, False, False]
        assert again[0].result is None
        assert again[1].result in {None, b"long"}
        assert again[2].result is None

    async def test_leases_of_a_batch_are_its_items(self, store: Store) -> None:
        """Each bid of a batch keeps its own lease."""
        short, long = Bid(a_key(), new_token(), self.lease), Bid(a_key(), new_token(), LONG_LEASE)
        await store.claim([short, long])
        await self.outlive_lease()
        again = await store.claim(_bids([short.key, long.key]))
        assert [each.fresh for each in again] == [True, False]

    async def test_fingerprints_of_a_batch_are_its_items(self, store: Store) -> None:
        """Each bid of a batch keeps its own fingerprint, or none."""
        one, bare, two = a_key(), a_key(), a_key()
        prints = {one: b"one", bare: None, two: b"two"}
        await store.claim(_bids(prints, prints))
        swapped = {one: b"two", bare: b"two", two: b"two"}
        same = [each.outcome for each in await store.claim(_bids(prints, prints))]
        other = [each.outcome for each in await store.claim(_bids(swapped, swapped))]
        known = Remembers.FINGERPRINT in store.remembers
        assert same == [Outcome.IN_FLIGHT] * 3
        assert other[0] is (Outcome.MISMATCH if known else Outcome.IN_FLIGHT)
        assert other[1:] == [Outcome.IN_FLIGHT] * 2

    async def test_large_batch(self, store: Store) -> None:
        """Hundreds of keys are claimed, renewed and settled at once."""
        keys = [a_key() for _ in range(_MANY)]
        held = await store.claim(_bids(keys))
        assert [each.key for each in held] == keys
        assert all(each.fresh for each in held)
        assert list(await store.renew(held, LONG_LEASE)) == [True] * _MANY
        done, failed = held[::2], held[1::2]
        settlements = [Settlement(each, LONG_TTL, b"result") for each in done]
        assert list(await store.complete(settlements)) == [True] * len(done)
        assert list(await store.release(failed)) == [True] * len(failed)
        again = await store.claim(_bids(keys))
        assert [each.fresh for each in again] == [False, True] * (_MANY // 2)

    async def test_repeated_key_is_refused(self, store: Store) -> None:
        """A key that stands twice in a batch is an error, and nothing of the batch is done."""
        key, twice = a_key(), a_key()
        with pytest.raises(ValueError):  # noqa: PT011 - the wording is the store's own
            await store.claim(_bids([key, twice, twice]))
        held = await store.claim(_bids([key, twice]))
        assert all(each.fresh for each in held)
        await _refuses(store, [held[0], held[1], held[1]])
        await _are_held(store, held)

    async def test_repeated_done_key_is_refused(self, store: Store) -> None:
        """A key that stands twice in a batch is an error though its answer is known."""
        held = await claim(store, a_key())
        assert await complete(store, held)
        with pytest.raises(ValueError):  # noqa: PT011 - the wording is the store's own
            await store.claim(_bids([held.key, held.key]))

    async def test_blank_key_is_refused(self, store: Store) -> None:
        """A key without any text is an error, and nothing of the batch is done."""
        for blank in _BLANKS:
            key = a_key()
            with pytest.raises(ValueError):  # noqa: PT011 - the wording is the store's own
                await store.claim(_bids([key, blank]))
            held = await claim(store, key)
            assert held.fresh, f"a batch with the key {blank!a} was claimed in part"
            await _refuses(store, [held, Claim(blank, held.token, Outcome.FRESH)])
            await _are_held(store, [held])


def _bids(keys: Iterable[str], prints: Mapping[str, bytes | None] = _NO_PRINTS) -> list[Bid]:
    return [Bid(key, new_token(), LONG_LEASE, prints.get(key)) for key in keys]


async def _refuses(store: Store, claims: Sequence[Claim]) -> None:
    """See that every verb that ends claims refuses such a batch."""
    with pytest.raises(ValueError):  # noqa: PT011 - the wording is the store's own
        await store.complete([Settlement(each, LONG_TTL) for each in claims])
    with pytest.raises(ValueError):  # noqa: PT011 - the wording is the store's own
        await store.release(claims)
    with pytest.raises(ValueError):  # noqa: PT011 - the wording is the store's own
        await store.renew(claims, LONG_LEASE)


async def _are_held(store: Store, held: Sequence[Claim]) -> None:
    for each in held:
        assert (await claim(store, each.key)).outcome is Outcome.IN_FLIGHT
        assert await renew(store, each)
