"""The README's code runs, and its claims about names hold."""

import re
from pathlib import Path

import pytest

import webhook_dedup

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_code_block_runs(number, tmp_path, monkeypatch):
    """Each Python block of the README runs as it stands."""
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[number], f"README.md block {number}", "exec"), {})


def test_there_are_blocks():
    """The pattern above still finds the README's code."""
    assert len(BLOCKS) >= 5


def test_front_door():
    """What is public is pinned: a name is added or removed on purpose."""
    assert sorted(webhook_dedup.__all__) == [
        "AlreadyDone",
        "BatchItem",
        "ConfigError",
        "Dedup",
        "Delivery",
        "Discard",
        "Event",
        "IdempotencyMiddleware",
        "InProgress",
        "JsonFormatter",
        "Policy",
        "Record",
        "Retries",
        "Retry",
        "SignatureError",
        "Source",
        "StoreUnavailable",
        "WebhookDedup",
        "WebhookDedupError",
        "claim_in",
        "deduplicate",
        "event_of",
        "fan_out",
        "idempotent",
        "once",
        "open_store",
    ]
    for name in webhook_dedup.__all__:
        assert getattr(webhook_dedup, name).__doc__, f"{name} has no docstring"
