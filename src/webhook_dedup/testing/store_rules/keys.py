"""Any text is a key, and different texts are different keys."""

# ruff: noqa: S101 - a test suite asserts
from __future__ import annotations

from collections.abc import Mapping

from ...contracts import Store
from ...model import Bid, Outcome, Settlement, new_token
from .case import LONG_LEASE, LONG_TTL, StoreCase, a_key, claim, complete, release

__all__ = ["HOSTILE", "KeyRules"]

HOSTILE: Mapping[str, str] = {
    "2,001 characters": "k" * 2_001,
    "1 MB": "k" * 1_000_000,
    "64 KiB of four-byte characters": "\U0001f511" * 16_384,
    "unicode": "clé-ключ-鍵-🔑-\u202e\u200b",
    "lone high surrogate": "a\ud800b",
    "lone low surrogate": "\udfff",
    "reversed surrogate pair": "\udc00\ud800",
    "quotes": "it's \"quoted\" `so` \\'; DROP TABLE claims; --",
    "NUL": "a\0b\0",
    "braces": "{a}b{}{{c}}{",
    "newlines": "a\nb\r\nc\r",
    "percent signs": "%s %(key)s %% 100%",
    "placeholders": ":key $1 ? @p",
    "patterns": "*?[a-z]^$(.*)",
    "control characters": "".join(map(chr, range(32))) + "\x7f\x85\u2028",
    "byte order mark": "\ufeffkey",
}

_LOOKALIKES: Mapping[str, tuple[str, ...]] = {
    "case": ("event", "Event", "EVENT"),
    "normal forms": ("caf\u00e9", "cafe\u0301", "cafe"),
    "width and ligatures": ("\ufb01x1", "fix1", "fix\uff11"),
    "spaces": ("event", "event ", " event", "event\t", "event\n", "event\u00a0"),
    "NUL": ("event", "event\0", "event\0\0", "event\0x"),
    "surrogates and their escapes": ("\ud800", "\\ud800", "\ufffd", "?", "\udc80", "\x80"),
    "unicode escapes": ("\u00e9", "\\xe9", "&eacute;", "%C3%A9", "\u00c3\u00a9"),
    "numbers": ("1", "01", "1.0", "1e0", "True"),
    "a long common prefix": tuple("p" * 2_000 + tail for tail in ("", "a", "b", "ab")),
    "a long common suffix": tuple(head + "s" * 2_000 for head in ("a", "b", "ab")),
    "lengths around the usual limits": tuple("k" * n for n in (255, 256, 400, 401, 512, 513)),
    "separators": ("a:b", "a::b", "a|b", "a/b", "a\x1fb", "ab"),
}


class KeyRules(StoreCase):
    """Hostile keys live like any other, and keys that look alike never meet."""

    async def test_any_text_is_a_key(self, store: Store) -> None:
        """Long, binary-looking and quoted keys are claimed, recognised and completed."""
        for what, text in HOSTILE.items():
            key = a_key(text)
            held = await claim(store, key)
            assert held.fresh, what
            assert held.key == key, what
            assert (await claim(store, key, token=held.token)).fresh, what
            assert (await claim(store, key)).outcome is Outcome.IN_FLIGHT, what
            assert await complete(store, held, result=b"result"), what
            assert (await claim(store, key)).outcome is Outcome.DUPLICATE, what

    async def test_any_text_is_a_key_of_a_batch(self, store: Store) -> None:
        """Hostile keys go together as well as alone."""
        bids = [Bid(a_key(text), new_token(), LONG_LEASE) for text in HOSTILE.values()]
        held = await store.claim(bids)
        assert [each.key for each in held] == [bid.key for bid in bids]
        assert all(each.fresh for each in held)
        assert all(await store.renew(held, LONG_LEASE))
        assert all(await store.complete([Settlement(each, LONG_TTL) for each in held]))
        again = await store.claim([Bid(bid.key, new_token(), LONG_LEASE) for bid in bids])
        assert all(each.outcome is Outcome.DUPLICATE for each in again)

    async def test_any_text_can_be_released(self, store: Store) -> None:
        """Hostile keys are free again after a release."""
        for what, text in HOSTILE.items():
            held = await claim(store, a_key(text))
            assert await release(store, held), what
            assert (await claim(store, held.key)).fresh, what

    async def test_lookalike_keys_are_distinct(self, store: Store) -> None:
        """Keys equal up to case, form, spaces or a long prefix are different events."""
        for what, texts in _LOOKALIKES.items():
            prefix = a_key("")
            for text in texts:
                held = await claim(store, prefix + text)
                assert held.fresh, f"{what}: {text[-20:]!a} met another key"
                assert await complete(store, held)

    async def test_lookalike_keys_share_a_batch(self, store: Store) -> None:
        """Keys that look alike do not count as one key twice in a batch."""
        for what, texts in _LOOKALIKES.items():
            prefix = a_key("")
            bids = [Bid(prefix + text, new_token(), LONG_LEASE) for text in texts]
            assert all(each.fresh for each in await store.claim(bids)), what
