"""The fixtures of the plugin; the examples of the docs are run by ``tests/docs``."""

import subprocess
import sys


def test_fixtures(signed_delivery, webhook_secret, fake_clock, failing_store):
    """Each fixture is what it says; a provider has one secret."""
    delivery = signed_delivery("stripe", event="1", url="/hooks")
    assert (delivery.method, delivery.url) == ("POST", "/hooks")
    assert webhook_secret("stripe") is webhook_secret("stripe")
    fake_clock.advance(1)
    assert failing_store.calls == []


def test_loading_the_plugin_loads_no_suite():
    """Runs of pytest that have nothing to do with webhooks do not load the contract suites."""
    code = (
        "import sys, webhook_dedup.testing.plugin\n"
        "print([m for m in sys.modules if '_rules' in m or 'samples' in m or 'httpx' in m])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
