"""The contract every store must pass, as a pytest class to subclass."""

from __future__ import annotations

import pytest

# The rules live in modules of their own, so that pytest can explain their failed assertions.
pytest.register_assert_rewrite(f"{__package__}.store_rules")

from .store_rules.batches import BatchRules  # noqa: E402 - after the rewrite is registered
from .store_rules.claims import ClaimRules  # noqa: E402 - after the rewrite is registered
from .store_rules.completion import CompletionRules  # noqa: E402 - after the rewrite is registered
from .store_rules.concurrency import ConcurrencyRules  # noqa: E402 - after the rewrite is registered
from .store_rules.expiry import ExpiryRules  # noqa: E402 - after the rewrite is registered
from .store_rules.fencing import FencingRules  # noqa: E402 - after the rewrite is registered
from .store_rules.keys import KeyRules  # noqa: E402 - after the rewrite is registered
from .store_rules.looking import LookingRules  # noqa: E402 - after the rewrite is registered
from .store_rules.memory import MemoryRules  # noqa: E402 - after the rewrite is registered

__all__ = ["StoreContract"]


class StoreContract(
    ClaimRules,
    FencingRules,
    CompletionRules,
    ExpiryRules,
    MemoryRules,
    LookingRules,
    BatchRules,
    KeyRules,
    ConcurrencyRules,
):
    """Every rule of :class:`webhook_dedup.contracts.Store` that one process can show.

    Subclass it under a name that begins with ``Test`` and give it a fixture named ``store``::

        class TestMyStore(StoreContract):
            @pytest.fixture
            async def store(self):
                store = MyStore("myserver://localhost")
                yield store
                await store.aclose()

    The tests are coroutines: run them with pytest-asyncio, in its auto mode or with
    ``@pytest.mark.asyncio`` on the subclass (async fixtures then need ``pytest_asyncio.fixture``),
    or with anyio on its asyncio backend and ``@pytest.mark.anyio``. Every test makes keys of its
    own, so a server need not be emptied in between.

    A store with an injectable clock is tested without waiting, by overriding :meth:`elapse` and
    :meth:`now`::

        class TestMyStore(StoreContract):
            @pytest.fixture
            def store(self):
                self.clock = FakeClock()
                return MyStore(clock=self.clock)

            async def elapse(self, seconds):
                self.clock.advance(seconds)

            def now(self):
                return self.clock.time()

    See :class:`webhook_dedup.testing.store_rules.StoreCase` for everything to override. What a
    store does not remember (``store.remembers``) is not asked of it.
    """
