"""`webhook-dedup providers` tells what the catalog knows."""

import json

import pytest

from tests.cli.operating import command
from webhook_dedup.providers import PRESETS


async def test_all_of_them():
    """Every provider has a line, and the list says how to see more."""
    done = await command("providers")
    assert done.exit_code == 0
    names = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert set(PRESETS) <= names
    assert "providers NAME" in done.stdout


async def test_all_of_them_for_machines():
    """With --json each line is one provider, complete and in plain values."""
    done = await command("providers", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["name"] for row in rows] == sorted(PRESETS)
    stripe = next(row for row in rows if row["name"] == "stripe")
    assert (stripe["event_id"], stripe["horizon"], stripe["replay"]) == ("id", 259_200, 2_592_000)
    assert stripe["signature"] == "HMAC-SHA256 with time in Stripe-Signature"
    assert stripe["docs"].startswith("https://")
    assert stripe["checked"] == "2026-11-22"


async def test_help_tells_what_machines_get():
    """Whoever reads it knows that it is no array, and how to read durations."""
    text = " ".join((await command("providers", "--help")).stdout.replace("│", "").split())
    assert "a JSON object a line, of each provider or of NAME" in text
    assert "durations are seconds, and 0 where nothing is known" in text


async def test_one_in_detail():
    """One provider is told in full, with its notes and with what is not certain."""
    done = await command("providers", "slack")
    assert done.exit_code == 0
    text = " ".join(done.stdout.split())
    for said in ("event_id", "X-Slack-Signature", "url_verification", "unverified", "3 s", "6 min"):
        assert said in text
    for note in PRESETS["slack"].notes:
        assert note in text


async def test_one_for_machines():
    """--json with a name is one line."""
    done = await command("providers", "sns", "--json")
    assert json.loads(done.stdout)["retry_status"] == 503


@pytest.mark.parametrize("more", [[], ["--json"]])
async def test_a_misspelt_name(more):
    """An unknown name is wrong usage, and the right one is offered."""
    done = await command("providers", "slak", *more)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "did you mean 'slack'" in done.stderr
