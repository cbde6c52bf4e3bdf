"""Rows of the catalog, and finding one."""

import dataclasses
import datetime as dt

import pytest

from webhook_dedup import providers
from webhook_dedup.errors import ConfigError
from webhook_dedup.providers import PRESETS, Preset, find_preset


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_each_row_is_usable(preset):
    """Expressions compile, the suggested TTL outlives retries, and the facts have their source."""
    for expression in (preset.event_id, preset.event_type, preset.occurred_at, preset.subject):
        if expression is not None:
            providers.compile_extractor(expression)
    assert find_preset(preset.name) is preset
    assert preset.remember > preset.horizon
    assert preset.docs.startswith("https://") or preset.name == "generic"
    assert preset.checked <= dt.date.today()  # noqa: DTZ011 - a row's day has no zone either
    assert preset.secret_format or preset.scheme is None


def test_stripe_and_github_facts():
    """The facts that users meet first."""
    stripe, github = find_preset("stripe"), find_preset("github")
    assert (stripe.event_id, stripe.horizon, stripe.remember) == ("id", 259_200, 345_600)
    assert (github.event_id, github.horizon) == ("header:X-GitHub-Delivery", 0)
    assert github.max_body == 25 * 1024 * 1024
    assert (stripe.ack, stripe.ack_status, stripe.retry_status) == ("first", 200, 503)
    assert find_preset("generic").event_id is None


@pytest.mark.parametrize("name", ["strpie", "Stripe", "STRIPE"])
def test_a_near_miss_is_corrected(name):
    """The error for a misspelt provider offers the right one."""
    with pytest.raises(ConfigError, match="did you mean 'stripe'"):
        find_preset(name)


def test_an_unknown_provider_gets_the_list():
    """The error for a strange name lists what there is and guesses nothing."""
    with pytest.raises(ConfigError) as caught:
        providers.verify("zzzzzz", secret="s", headers={}, body=b"")
    assert "known are: generic, github, stripe" in str(caught.value)
    assert "did you mean" not in str(caught.value)


def test_rows_cannot_be_changed():
    """Rows and catalog are constants."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        find_preset("stripe").event_id = "other"
    with pytest.raises(TypeError):
        PRESETS["other"] = find_preset("stripe")


def test_a_row_that_does_not_sign_cannot_be_verified(monkeypatch):
    """Asking to verify an unsigned provider is an error of configuration."""
    row = Preset(name="plain", title="Plain", event_id="id", checked=dt.date(2026, 1, 1))
    monkeypatch.setattr(providers, "find_preset", lambda name: row)
    with pytest.raises(ConfigError, match="Plain does not sign"):
        providers.verify("plain", secret="s", headers={}, body=b"")
