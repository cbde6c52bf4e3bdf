"""The user's own check against ground truth."""

import pytest

from webhook_dedup import ConfigError
from webhook_dedup.errors import Skipped
from webhook_dedup.guards import Check


async def send():
    return "sent"


async def test_work_that_is_done_is_not_repeated(dedup, passage):
    """The check is asked with the event and its JSON, in a thread if it blocks."""
    replied = {"yes"}

    async def asynchronous(event, data):
        return data in replied

    for check in (Check(asynchronous), Check(lambda event, data: data in replied)):
        assert await check.run(passage(dedup, data="no"), send) == "sent"
        with pytest.raises(Skipped) as skipped:
            await check.run(passage(dedup, data="yes"), send)
        assert skipped.value.code == "already_done"


async def test_failing_check_runs_nothing(dedup, passage):
    """Without an answer nothing is sent: the event fails and comes again."""

    def check(event, data):
        raise ConnectionError("no mailbox")

    async def unexpected():
        raise AssertionError("must not run")

    with pytest.raises(ConnectionError):
        await Check(check).run(passage(dedup), unexpected)


def test_check_must_be_a_function():
    with pytest.raises(ConfigError, match="takes a function"):
        Check(True)
