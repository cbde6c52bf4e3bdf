"""The judgement of the chaos program, on made-up ledgers."""

from __future__ import annotations

import pytest

from benchmarks.chaos.verdict import Rules, judge

LEASE = 2.0
RULES = Rules(LEASE)


def line(what, at, pid=1, **more):
    return {"what": what, "at": at, "pid": pid, "id": "e", **more}


def kill(at, pid):
    return line("kill", at, pid, point="at random")


def span(begin, end, what="outage", over="healed", pid=0):
    return [line(what, begin, pid), line(over, end, pid)]


def verdict_on(*lines, rules=RULES):
    return judge(lines, {"e"}, rules)


FIRST = line("effect", 1, 1)
SECOND = [line("effect", 9, 2), line("completed", 9.1, 2)]


def test_lost():
    """An event that was acknowledged and has no effect is lost, whatever else it did."""
    verdict = judge([line("began", 1), line("completed", 2)], {"e", "never"}, RULES)
    assert verdict.lost == ["e", "never"]
    assert not verdict.holds


def test_nothing_acknowledged():
    """A trial in which nothing was accepted shows nothing."""
    assert judge([FIRST, line("completed", 2)], {"e"}, RULES).holds
    assert not judge([], (), RULES).holds


def test_second_effect_without_harm():
    """A second effect that nothing explains breaks the promise."""
    verdict = verdict_on(FIRST, *SECOND)
    assert (verdict.doubled, verdict.explained, verdict.unexplained) == (1, 0, ["e"])
    assert not verdict.holds


@pytest.mark.parametrize(
    "harm",
    [
        [kill(2, 1)],
        span(2, 4, "frozen", "thawed", 1),
        span(2, 4),
        span(2, 4, "full", "emptied"),
        span(0, 2),
        [line("frozen", 2, 1)],
    ],
    ids=["kill", "freeze", "outage", "full disk", "begun before the effect", "never thawed"],
)
def test_explained(harm):
    """A harm between an effect and complete explains one more effect, and no third."""
    verdict = verdict_on(FIRST, *harm, *SECOND)
    assert (verdict.doubled, verdict.explained) == (1, 1)
    assert verdict.holds
    assert sum(verdict.pairs.values()) == 1
    third = verdict_on(FIRST, *harm, *SECOND, line("effect", 12, 3))
    assert third.unexplained == ["e"]


@pytest.mark.parametrize(
    "harm",
    [
        [kill(2, 7)],
        [kill(9.5, 1)],
        span(2, 3.9, "frozen", "thawed", 1),
        span(2, 4, "frozen", "thawed", 7),
        span(2, 3.9),
        span(-2, 0.5),
    ],
    ids=[
        "kill of another process",
        "kill after the second effect",
        "short freeze",
        "freeze of another process",
        "short outage",
        "outage before the effect",
    ],
)
def test_not_explained(harm):
    """What did not fall between the effect and complete, or was too short, explains nothing."""
    assert verdict_on(FIRST, *harm, *SECOND).unexplained == ["e"]


@pytest.mark.parametrize("closing", ["completed", "refused", "cut off"])
def test_after_the_window(closing):
    """Once the worker knew what became of the claim, no harm explains another effect."""
    harms = [kill(3, 1), *span(3, 6), *span(3, 6, "frozen", "thawed", 1)]
    assert verdict_on(FIRST, line(closing, 2, 1), *harms, *SECOND).unexplained == ["e"]


def test_one_kill_and_several_windows():
    """A kill doubles each event whose window it fell into, and is told as so many pairs."""
    events = ("a", "b", "c")
    first = [line("effect", 1, 1) | {"id": event} for event in events]
    later = [line("effect", 9, 2) | {"id": event} for event in events]
    verdict = judge([*first, kill(2, 1), *later], set(events), RULES)
    assert (verdict.doubled, verdict.explained, verdict.harms["kill"]) == (3, 3, 1)
    assert verdict.pairs == {"kill": 3}
    assert verdict.literally is None
    alone = judge([*first, kill(2, 1), *later], set(events), Rules(LEASE, concurrency=1))
    assert alone.literally is False
    assert not alone.holds


def test_dead_processes():
    """What comes after the death of a process did not fall into its window."""
    verdict = verdict_on(FIRST, kill(2, 1), *span(3, 6), *SECOND)
    assert verdict.pairs == {"kill": 1, "outage": 0}


def test_effect_between_note_and_signal():
    """A kill is noted before it strikes, and what was done in that moment was done in a window."""
    late = line("effect", 2.001, 1)
    assert verdict_on(kill(2, 1), late, *SECOND).holds


def test_literally():
    """Where a process runs one handler at a time, doubled is no more than what was done."""
    verdict = verdict_on(FIRST, kill(2, 1), *SECOND, rules=Rules(LEASE, concurrency=1))
    assert verdict.literally
    assert verdict.holds


def test_rows_of_transactions():
    """Where the effect is in a transaction, rows are counted and no harm explains a second one."""
    lines = [FIRST, kill(2, 1), *SECOND]
    assert verdict_on(*lines, rules=Rules(LEASE, rows={"e": 1})).doubled == 0
    doubled = verdict_on(*lines, rules=Rules(LEASE, rows={"e": 2}))
    assert doubled.unexplained == ["e"]
    assert verdict_on(*lines, rules=Rules(LEASE, rows={})).lost == ["e"]
