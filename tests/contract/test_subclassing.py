"""The contract suite as a third party uses it."""

from .runner import RULES

pytest_plugins = ["pytester"]

_STORE_TESTS = """
import pytest
from webhook_dedup.stores.memory import MemoryStore
from webhook_dedup.testing import FakeClock, StoreContract

{preamble}
class TestMine(StoreContract):
    {fixture}
    async def store(self):
        self.clock = FakeClock()
        store = {store}(clock=self.clock)
        yield store
        await store.aclose()

    async def elapse(self, seconds):
        self.clock.advance(seconds)

    def now(self):
        return self.clock.time()
"""


def _write(pytester, *, preamble="", fixture="@pytest.fixture", store="MemoryStore"):
    source = _STORE_TESTS.format(preamble=preamble, fixture=fixture, store=store)
    pytester.makepyfile(source)


def test_in_auto_mode(pytester):
    """With pytest-asyncio in auto mode a plain fixture is all it takes."""
    _write(pytester)
    result = pytester.runpytest_subprocess("-o", "asyncio_mode=auto")
    result.assert_outcomes(passed=len(RULES))


def test_in_strict_mode(pytester):
    """With pytest-asyncio in strict mode the subclass and its fixture are marked."""
    preamble = "import pytest_asyncio\n@pytest.mark.asyncio"
    _write(pytester, preamble=preamble, fixture="@pytest_asyncio.fixture")
    result = pytester.runpytest_subprocess("-o", "asyncio_mode=strict")
    result.assert_outcomes(passed=len(RULES))


def test_unmarked_in_strict_mode(pytester):
    """Each test that no plugin would run says what to set, in place of how its fixture failed."""
    _write(pytester)
    result = pytester.runpytest_subprocess("-o", "asyncio_mode=strict")
    result.assert_outcomes(errors=len(RULES))
    assert str(result.stdout).count("\nnothing runs this coroutine: ") == len(RULES)
    result.stdout.fnmatch_lines(["nothing runs this coroutine: set asyncio_mode = auto for *"])


def test_a_power_that_is_not_declared_is_named(pytester):
    """A store that tells the first-seen time without saying that it does is told what to write."""
    preamble = """
from webhook_dedup.model import Remembers

class Silent(MemoryStore):
    remembers = Remembers.NOTHING
"""
    _write(pytester, preamble=preamble, store="Silent")
    result = pytester.runpytest_subprocess("-o", "asyncio_mode=auto", "-k", "first_seen_is_about")
    result.stdout.fnmatch_lines(["E *add Remembers.FIRST_SEEN to it, or leave first_seen None*"])


def test_with_anyio(pytester):
    """With anyio on asyncio the subclass is marked and names its backend."""
    preamble = """
@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio"""
    _write(pytester, preamble=preamble)
    result = pytester.runpytest_subprocess("-p", "no:asyncio")
    result.assert_outcomes(passed=len(RULES))


def test_failures_are_explained(pytester):
    """The assertions of the shipped rules show their values like those of a test file."""
    preamble = """
class Broken(MemoryStore):
    def _release(self, claim, now):
        return True
"""
    _write(pytester, preamble=preamble, store="Broken")
    result = pytester.runpytest_subprocess("-o", "asyncio_mode=auto", "-k", "fresh_at_once")
    result.stdout.fnmatch_lines(["E *assert False", "E *where False = Claim(*IN_FLIG*"])


def test_a_missing_fixture_is_named(pytester):
    """A subclass without a store says what it lacks."""
    pytester.makepyfile(
        """
        from webhook_dedup.testing import StoreContract

        class TestMine(StoreContract):
            pass
        """
    )
    result = pytester.runpytest_subprocess("-o", "asyncio_mode=auto", "-k", "absent_key_is_fresh")
    result.stdout.fnmatch_lines(["*fixture 'store' not found*"])
