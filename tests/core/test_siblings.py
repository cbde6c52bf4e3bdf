"""Items that wait for another one of their key."""

from __future__ import annotations

from webhook_dedup.model import Delivery, Item
from webhook_dedup.siblings import ENDINGS_KEPT, Siblings

from .virtual import in_virtual_time, now


def an_item(name: str) -> Item:
    return Item(name, f"{name}.0", Delivery(name, "s", "POST", "/", (), b"", 0.0))


@in_virtual_time
async def test_waiters_are_told_once_and_only_those_of_the_key():
    """The end of a run wakes who waited for it, each item once however often it came."""
    siblings = Siblings()
    for key in ("a", "b"):
        siblings.began(key)
    for name in ("1", "2", "1"):
        assert siblings.wait("a", an_item(name), now())
    siblings.wait("b", an_item("3"), now())

    assert [item.id for item in siblings.ended("a")] == ["1", "2"]
    assert list(siblings.ended("a")) == []


@in_virtual_time
async def test_nothing_is_kept_for_holders_elsewhere():
    """Who waits for another process is not remembered here, as nobody would forget it."""
    siblings = Siblings()
    assert siblings.wait("a", an_item("1"), now())

    assert siblings._waiting == {}


@in_virtual_time
async def test_endings_are_known_for_a_while_in_bounded_memory():
    """A bid sent before the end of a run need not wait; the record of it is bounded."""
    siblings = Siblings()
    for number in range(2 * ENDINGS_KEPT):
        siblings.began(f"k{number}")
        siblings.ended(f"k{number}")

    assert len(siblings._ended) == ENDINGS_KEPT
    last = f"k{2 * ENDINGS_KEPT - 1}"
    assert not siblings.wait(last, an_item("1"), now() - 1)
    assert siblings.wait(last, an_item("1"), now() + 1)
    assert siblings.wait("k0", an_item("1"), now() - 1)


@in_virtual_time
async def test_ending_is_known_as_long_though_its_key_had_ended_before():
    """What counts is when a key ended last."""
    siblings = Siblings()
    for name in ("again", *map(str, range(ENDINGS_KEPT - 1)), "again", "one more"):
        siblings.ended(name)

    assert not siblings.wait("again", an_item("1"), now() - 1)
