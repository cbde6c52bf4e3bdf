"""Policies refuse what cannot work, and read durations the same way however they are given."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace
from datetime import timedelta

import pytest

from webhook_dedup import ConfigError, Policy, Retries
from webhook_dedup.policy import seconds


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (5, 5.0),
        (0.25, 0.25),
        (timedelta(days=1), 86_400.0),
        (timedelta(days=2, hours=1), 176_400.0),
    ],
)
def test_durations_are_seconds_or_a_timedelta(given, read):
    """One day is 86,400 seconds, not 0."""
    policy = Policy(
        ttl=given,
        lease=given,
        handler_timeout=given,
        drain_timeout=given,
        retries=Retries(initial=given, maximum=given),
    )
    assert (policy.ttl, policy.lease, policy.handler_timeout, policy.drain_timeout) == (read,) * 4
    assert (policy.retries.initial, policy.retries.maximum) == (read,) * 2
    assert policy.retries.wait(3) <= read


@pytest.mark.parametrize(
    "value",
    [0, -1, math.nan, math.inf, 1e12, "48h", True, timedelta(0), timedelta(days=-1), [1]],
    ids=repr,
)
@pytest.mark.parametrize("name", ["ttl", "lease", "handler_timeout"])
def test_durations_that_cannot_work_are_refused_by_name(name, value):
    """The error names the option and shows what to write."""
    with pytest.raises(ConfigError, match=name):
        Policy(**{name: value})


def test_defaults_lose_nothing():
    """What happens when nothing is chosen."""
    policy = Policy()
    assert (policy.ttl, policy.lease, policy.max_body) == (None, 30.0, 1 << 20)
    assert (policy.on_missing_id, policy.on_mismatch, policy.on_store_error) == (
        "reject",
        "skip",
        "defer",
    )
    assert not policy.observe_only


@pytest.mark.parametrize(
    "options",
    [
        {"on_missing_id": "ignore"},
        {"on_mismatch": None},
        {"on_store_error": "open"},
        {"max_body": 0},
        {"max_in_flight": 0},
        {"max_in_flight": 1.5},
        {"max_body": True},
        {"drain_timeout": -1},
        {"retries": 3},
    ],
    ids=repr,
)
def test_choices_that_do_not_exist_are_refused_by_name(options):
    """A typing error does not become a default."""
    [name] = options
    with pytest.raises(ConfigError, match=name):
        Policy(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": 0},
        {"attempts": 2.5},
        {"initial": -1},
        {"factor": 0.5},
        {"factor": math.nan},
        {"factor": math.inf},
        {"maximum": math.inf},
        {"jitter": 1.5},
        {"jitter": math.nan},
    ],
    ids=repr,
)
def test_retries_that_cannot_work_are_refused_by_name(options):
    """So that back-off never fails when it is needed."""
    [name] = options
    with pytest.raises(ConfigError, match=name):
        Retries(**options)


@pytest.mark.parametrize("factor", [1, 2, 1000])
@pytest.mark.parametrize("initial", [0, 1, 3600])
def test_waits_grow_to_their_maximum_and_no_further(factor, initial):
    """However often an event has failed, the wait is a finite number."""
    retries = Retries(initial=initial, factor=factor, maximum=600, jitter=0)
    waits = [retries.wait(attempt) for attempt in (1, 2, 3, 50, 10**6)]

    assert waits == sorted(waits)
    assert waits[0] == min(initial, 600)
    assert waits[-1] <= 600


def test_jitter_only_shortens():
    """Waits spread over the share that is left to chance."""
    waits = [Retries(initial=100, jitter=0.25).wait(1) for _ in range(200)]

    assert 75 <= min(waits) < max(waits) <= 100
    assert len(set(waits)) > 100


def test_policies_are_frozen_and_can_be_varied():
    """A policy is shared by many requests, so it does not change; a copy may differ."""
    policy = Policy(ttl=60)
    with pytest.raises(FrozenInstanceError):
        policy.ttl = 1  # type: ignore[misc]  # what is refused

    assert replace(policy, lease=5).ttl == 60
    assert replace(Retries(attempts=3), jitter=0).attempts == 3
    assert policy == Policy(ttl=timedelta(minutes=1))


def test_zero_is_a_duration_only_where_it_means_something():
    """A drain time-out of zero is a choice."""
    assert Policy(drain_timeout=0).drain_timeout == 0
    assert seconds(0, "x", zero=True) == 0
