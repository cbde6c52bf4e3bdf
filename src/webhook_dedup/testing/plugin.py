"""Fixtures for the tests of apps that handle webhooks; pytest finds them by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

__all__ = ["failing_store", "fake_clock", "signed_delivery", "webhook_secret"]

# What the fixtures are made of loads with the first test that asks for it: pytest imports this
# module into every run, also into those that have nothing to do with webhooks.


@pytest.fixture
def failing_store() -> Any:
    """A :class:`webhook_dedup.testing.FailingStore` in memory."""
    from . import FailingStore  # noqa: PLC0415 - for tests that ask for it only

    return FailingStore()


@pytest.fixture
def fake_clock() -> Any:
    """A :class:`webhook_dedup.testing.FakeClock`."""
    from . import FakeClock  # noqa: PLC0415 - for tests that ask for it only

    return FakeClock()


@pytest.fixture(scope="session")
def webhook_secret() -> Callable[[str], Any]:
    """``webhook_secret("stripe")``: a secret in the provider's format, the same for all tests.

    ``.verifying`` is for ``Source(…, secret=…)``; with ``.signing`` deliveries are signed.
    """
    from ..providers.samples import SampleSecret, sample_secret  # noqa: PLC0415 - for tests that ask for it only

    made: dict[str, SampleSecret] = {}

    def secret(provider: str) -> SampleSecret:
        if provider not in made:
            made[provider] = sample_secret(provider)
        return made[provider]

    return secret


@pytest.fixture
def signed_delivery(webhook_secret: Callable[[str], Any]) -> Callable[..., Any]:
    """``signed_delivery("stripe", event="1", url="/webhooks/stripe")``: a genuine-looking delivery.

    Signed with :func:`webhook_secret` unless ``secret=`` is given. The rest is passed to
    :func:`webhook_dedup.providers.samples.sample_delivery`.
    """
    from ..providers.samples import sample_delivery  # noqa: PLC0415 - for tests that ask for it only

    def delivery(provider: str, **options: Any) -> Any:
        options.setdefault("secret", webhook_secret(provider).signing)
        return sample_delivery(provider, **options)

    return delivery
