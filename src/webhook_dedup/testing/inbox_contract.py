"""The contract every inbox must pass, as a pytest class to subclass."""

from __future__ import annotations

import pytest

# The rules live in modules of their own, so that pytest can explain their failed assertions.
pytest.register_assert_rewrite(f"{__package__}.inbox_rules", f"{__package__}.store_rules")

from .inbox_rules.batches import BatchRules  # noqa: E402 - after the rewrite is registered
from .inbox_rules.concurrency import ConcurrencyRules  # noqa: E402 - after the rewrite is registered
from .inbox_rules.deliveries import DeliveryRules  # noqa: E402 - after the rewrite is registered
from .inbox_rules.ending import EndingRules  # noqa: E402 - after the rewrite is registered
from .inbox_rules.fencing import FencingRules  # noqa: E402 - after the rewrite is registered
from .inbox_rules.finding import FindingRules  # noqa: E402 - after the rewrite is registered
from .inbox_rules.leases import LeaseRules  # noqa: E402 - after the rewrite is registered
from .inbox_rules.operating import OperatingRules  # noqa: E402 - after the rewrite is registered
from .inbox_rules.settling import SettlingRules  # noqa: E402 - after the rewrite is registered
from .inbox_rules.sources import SourceRules  # noqa: E402 - after the rewrite is registered

__all__ = ["InboxContract"]


class InboxContract(
    LeaseRules,
    SettlingRules,
    EndingRules,
    FencingRules,
    DeliveryRules,
    BatchRules,
    ConcurrencyRules,
    OperatingRules,
    FindingRules,
    SourceRules,
):
    """Every rule of ``Inbox`` and ``OperableInbox`` that one process can show.

    Both stand in :mod:`webhook_dedup.contracts`. Subclass this under a name that begins with
    ``Test`` and give it a fixture named ``inbox``. Every test needs an **empty** inbox, since
    whatever is due is taken: give each a table, a prefix or a file of its own::

        class TestMyInbox(InboxContract):
            @pytest.fixture
            async def inbox(self):
                inbox = MyInbox("myserver://localhost", prefix=uuid4().hex)
                yield inbox
                await inbox.aclose()

    The tests are coroutines: run them with pytest-asyncio, in its auto mode or with
    ``@pytest.mark.asyncio`` on the subclass (async fixtures then need ``pytest_asyncio.fixture``),
    or with anyio on its asyncio backend and ``@pytest.mark.anyio``.

    An inbox with an injectable clock is tested without waiting, by overriding ``elapse`` and
    ``now`` as for :class:`~webhook_dedup.testing.StoreContract`. Where rows can be made
    unreadable, override ``spoil``, so that the rule about them is not skipped. See
    :class:`webhook_dedup.testing.inbox_rules.InboxCase` for everything to override.
    """
