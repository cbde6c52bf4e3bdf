"""What a store remembers beside the bare claim."""

# ruff: noqa: S101 - a test suite asserts
from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from ...contracts import Store
from ...model import Outcome, Remembers
from .case import StoreCase, a_key, claim, complete, release, renew
from .keys import HOSTILE

if TYPE_CHECKING:
    from ...contracts import Forgetful

__all__ = ["MemoryRules"]

_RESULTS = (b"", b"0", b"{}", b'""', b"null", b"\x00", b"\x00\xff\x80\n:|", bytes(range(256)) * 256)
_FINGERPRINT = bytes(range(0, 256, 8))
_OTHER_FINGERPRINT = _FINGERPRINT[:-1] + b"\xff"


class MemoryRules(StoreCase):
    """Fingerprints, results and forgetting; asked only of stores that declare them."""

    async def test_fingerprint_of_a_held_key(self, store: Store) -> None:
        """The same id with another body is a mismatch while the first still runs."""
        key = a_key()
        await claim(store, key, fingerprint=_FINGERPRINT)
        same = await claim(store, key, fingerprint=_FINGERPRINT)
        other = await claim(store, key, fingerprint=_OTHER_FINGERPRINT)
        assert same.outcome is Outcome.IN_FLIGHT
        assert other.outcome is self._mismatch_or(store, Outcome.IN_FLIGHT)
        assert not other.done
        assert other.remaining > 0

    async def test_fingerprint_survives_completion(self, store: Store) -> None:
        """An identical retry of a done event is a duplicate, another body is a mismatch."""
        held = await claim(store, a_key(), fingerprint=_FINGERPRINT)
        assert await complete(store, held)
        same = await claim(store, held.key, fingerprint=_FINGERPRINT)
        other = await claim(store, held.key, fingerprint=_OTHER_FINGERPRINT)
        assert same.outcome is Outcome.DUPLICATE
        assert other.outcome is self._mismatch_or(store, Outcome.DUPLICATE)
        assert same.done
        assert other.done

    async def test_mismatched_bid_changes_no_fingerprint(self, store: Store) -> None:
        """The first fingerprint stays, whatever others bid with and the holder renews."""
        held = await claim(store, a_key(), fingerprint=_FINGERPRINT)
        await claim(store, held.key, fingerprint=_OTHER_FINGERPRINT)
        assert await renew(store, held)
        same = await claim(store, held.key, fingerprint=_FINGERPRINT)
        assert same.outcome is Outcome.IN_FLIGHT

    async def test_mismatched_bid_is_fenced(self, store: Store) -> None:
        """A caller refused for its body has no power over the key."""
        held = await claim(store, a_key(), fingerprint=_FINGERPRINT)
        other = await claim(store, held.key, fingerprint=_OTHER_FINGERPRINT)
        for verb in (complete, release, renew):
            assert not await verb(store, other)
        assert await complete(store, held)

    async def test_unknown_fingerprint_never_mismatches(self, store: Store) -> None:
        """Bodies are compared only where both are known."""
        bare = await claim(store, a_key())
        known = await claim(store, a_key(), fingerprint=_FINGERPRINT)
        for held, fingerprint in ((bare, _FINGERPRINT), (known, None), (bare, None)):
            other = await claim(store, held.key, fingerprint=fingerprint)
            assert other.outcome is Outcome.IN_FLIGHT
        for held, fingerprint in ((bare, _FINGERPRINT), (known, None), (bare, None)):
            assert await complete(store, held)
            other = await claim(store, held.key, fingerprint=fingerprint)
            assert other.outcome is Outcome.DUPLICATE

    async def test_results_replay_as_they_were(self, store: Store) -> None:
        """Empty, falsy, binary and large results come back byte for byte."""
        for result in _RESULTS:
            held = await claim(store, a_key())
            assert await complete(store, held, result=result)
            expected = result if Remembers.RESULT in store.remembers else None
            for _ in range(2):
                assert (await claim(store, held.key)).result == expected

    async def test_no_result_stays_none(self, store: Store) -> None:
        """Nothing stored is told apart from an empty result."""
        held = await claim(store, a_key())
        assert await complete(store, held, result=None)
        assert (await claim(store, held.key)).result is None

    async def test_forgotten_claim_is_absent(self, store: Store) -> None:
        """A person can free a key that is held; its holder has no power over the next."""
        forgetful = _forgetful(store)
        held = await claim(store, a_key())
        assert await forgetful.forget(held.key)
        winner = await claim(store, held.key)
        assert winner.fresh
        for verb in (complete, release, renew):
            assert not await verb(store, held)
        assert await complete(store, winner)

    async def test_forgotten_done_key_is_absent(self, store: Store) -> None:
        """A person can have a done event run again; nothing of its old life is left."""
        forgetful = _forgetful(store)
        held = await claim(store, a_key(), fingerprint=b"old")
        assert await complete(store, held, result=b"old")
        assert (await claim(store, held.key)).outcome is Outcome.DUPLICATE
        assert await forgetful.forget(held.key)
        again = await claim(store, held.key, fingerprint=b"new")
        assert again.fresh
        assert again.result is None

    async def test_forgetting_what_is_absent_is_false(self, store: Store) -> None:
        """Unknown, released, expired and forgotten keys are told apart from known ones."""
        forgetful = _forgetful(store)
        released, forgotten = await claim(store, a_key()), await claim(store, a_key())
        await release(store, released)
        await forgetful.forget(forgotten.key)
        expired = await claim(store, a_key(), lease=self.lease)
        await self.outlive_lease()
        for key in (a_key(), released.key, expired.key, forgotten.key):
            assert not await forgetful.forget(key)

    async def test_any_text_can_be_forgotten(self, store: Store) -> None:
        """Forgetting knows hostile keys under the names that claiming gave them."""
        forgetful = _forgetful(store)
        for what, text in HOSTILE.items():
            held = await claim(store, a_key(text))
            assert await complete(store, held), what
            assert await forgetful.forget(held.key), what
            assert (await claim(store, held.key)).fresh, what

    async def test_forgetting_is_of_one_key(self, store: Store) -> None:
        """Neighbours of a forgotten key stay as they are."""
        forgetful = _forgetful(store)
        held, done, forgotten = [await claim(store, a_key()) for _ in range(3)]
        assert await complete(store, done)
        assert await forgetful.forget(forgotten.key)
        assert (await claim(store, held.key)).outcome is Outcome.IN_FLIGHT
        assert (await claim(store, done.key)).outcome is Outcome.DUPLICATE

    @staticmethod
    def _mismatch_or(store: Store, otherwise: Outcome) -> Outcome:
        return Outcome.MISMATCH if Remembers.FINGERPRINT in store.remembers else otherwise


def _forgetful(store: Store) -> Forgetful:
    if Remembers.FORGET not in store.remembers:
        pytest.skip(f"the store {store.name!r} does not keep single done keys")
    return cast("Forgetful", store)
