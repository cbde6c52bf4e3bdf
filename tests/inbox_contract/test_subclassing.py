"""The inbox contract as a third party uses it."""

from .runner import RULES

pytest_plugins = ["pytester"]

_TESTS = """
import pytest
from webhook_dedup.inbox.memory import MemoryInbox
from webhook_dedup.testing import FakeClock, InboxContract

{preamble}
class TestMine(InboxContract):
    @pytest.fixture
    async def inbox(self):
        self.clock = FakeClock()
        inbox = {inbox}(clock=self.clock)
        yield inbox
        await inbox.aclose()

    async def elapse(self, seconds):
        self.clock.advance(seconds)

    def now(self):
        return self.clock.time()
"""


def _run(pytester, *options, preamble="", inbox="MemoryInbox"):
    pytester.makepyfile(_TESTS.format(preamble=preamble, inbox=inbox))
    return pytester.runpytest_subprocess(*options)


def test_in_auto_mode(pytester):
    """A plain fixture is all it takes; what the inbox has no way to show is skipped."""
    result = _run(pytester, "-o", "asyncio_mode=auto")
    result.assert_outcomes(passed=len(RULES) - 1, skipped=1)


def test_with_anyio(pytester):
    """With anyio on asyncio the subclass is marked and names its backend."""
    preamble = """
@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio"""
    result = _run(pytester, "-p", "no:asyncio", preamble=preamble)
    result.assert_outcomes(passed=len(RULES) - 1, skipped=1)


def test_failures_are_explained(pytester):
    """The assertions of the shipped rules show their values like those of a test file."""
    preamble = """
class Broken(MemoryInbox):
    async def next_due(self):
        return 7.0
"""
    options = ("-o", "asyncio_mode=auto", "-k", "nothing_is_next")
    result = _run(pytester, *options, preamble=preamble, inbox="Broken")
    result.stdout.fnmatch_lines(["E *assert 7.0 is None"])
