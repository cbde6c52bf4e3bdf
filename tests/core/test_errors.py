"""What errors are to code that has caught them, here and in another process."""

from __future__ import annotations

import copy
import pickle

import pytest

from webhook_dedup import errors

MADE = [
    errors.MissingExtra("redis:// stores", "redis"),
    errors.RejectedDelivery(503, "overloaded", "too many", retry_after=2.0),
    errors.SignatureError("too_old", "it is too old"),
    errors.InProgress("evt_1", 2.0),
    errors.Locked("thread", 1.0),
    errors.AlreadyDone("evt_1"),
    errors.IdempotencyMismatch("key"),
    errors.UnstorableResult("a set"),
    errors.HandlerTimeout("too long"),
    errors.Retry("later", after=3),
    errors.Discard("spam"),
    errors.Skipped("locked", "another is handled"),
    errors.StoreUnavailable("away"),
]


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_errors_come_back_from_another_process(error):
    """A pool of processes pickles what a task raised, and breaks where that cannot be made anew."""
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
