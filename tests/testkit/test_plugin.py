"""The documented example fails on a naive handler and passes with the middleware."""

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

PLUGIN = "webhook_dedup.testing.plugin"
DOCS = Path(__file__).parents[2] / "docs" / "observability.md"


def example():
    """The test file that the documentation shows."""
    section = DOCS.read_text().partition("## Tests of your own app")[2]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return next(block for block in blocks if "def test_" in block)


def run(folder):
    # Found by itself, except where this checkout was installed before it had the plugin.
    installed = {entry.value for entry in entry_points(group="pytest11")}
    named = () if PLUGIN in installed else ("-p", PLUGIN)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *named],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("naive", "code"), [(False, 0), (True, 1)])
def test_the_documented_example(tmp_path, naive, code):
    """It passes with the middleware, and fails without it by saying how often the handler ran."""
    text = example()
    if naive:
        assert "app.add_middleware(" in text
        text = re.sub(r"app\.add_middleware\(.*?\n\)\n", "", text, flags=re.DOTALL)
    (tmp_path / "test_app.py").write_text(text)
    done = run(tmp_path)
    assert done.returncode == code, done.stdout + done.stderr
    assert ("ran 5 times" in done.stdout) == naive


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
