"""A person looks up or forgets one event, under the key that the middleware gave it."""

import json

import pytest

from tests.cli.operating import command
from webhook_dedup import Dedup, Event, Source, open_store
from webhook_dedup.errors import OverBudget
from webhook_dedup.guards import Budget, Passage
from webhook_dedup.model import Bid, Key, Outcome, Settlement


@pytest.fixture
async def store(url):
    """The store as the app opens it."""
    store = open_store(url)
    yield store
    await store.aclose()


async def claim(store, key, token):
    (claim,) = await store.claim([Bid(key, token, 60)])
    return claim


@pytest.mark.parametrize("tenant", ["", "acme"])
async def test_forget(store, url, tenant):
    """A finished event is fresh after it was forgotten; a second time there is nothing."""
    source = Source("stripe", path="/hooks", name="billing", verify=False)
    key = str(Key(source.scope, "evt_1", tenant))
    done = await claim(store, key, "first")
    assert await store.complete([Settlement(done, 60)]) == [True]
    arguments = ["stores", "forget", "evt_1", "--source", "billing", "--tenant", tenant]
    said = await command(*arguments, url=url)
    assert said.exit_code == 0, said.output
    assert "minute" in said.stdout
    said = await command(*arguments, "--json", url=url)
    assert (said.exit_code, json.loads(said.stdout)) == (1, {"key": key, "forgotten": False})
    assert (await claim(store, key, "second")).outcome is Outcome.FRESH


async def test_a_tenant_that_is_not_named(store, url):
    """Where nothing is found without a tenant it is said that one may be missing."""
    await claim(store, str(Key("webhook:stripe", "evt_1", "acme")), "first")
    for verb in (["stores", "show"], ["why"], ["stores", "forget"]):
        asked = [*verb, "evt_1", "--source", "stripe"]
        assert "--tenant" in (await command(*asked, url=url)).stdout
        assert "--tenant" not in (await command(*asked, "--tenant", "none", url=url)).stdout
        assert "--tenant" not in (await command(*asked, "--tenant", "acme", url=url)).stdout


async def test_other_events_stay(store, url):
    """An event of another source or tenant is not forgotten."""
    key = str(Key("webhook:stripe", "evt_1", "acme"))
    await claim(store, key, "first")
    for more in (["--source", "stripe"], ["--source", "other", "--tenant", "acme"]):
        assert (await command("stores", "forget", "evt_1", *more, url=url)).exit_code == 1
    assert (await claim(store, key, "second")).outcome is Outcome.IN_FLIGHT


async def test_show(store, url):
    """How an event stands is told, from its first claim to its end, and nothing is claimed."""
    await store.start()
    arguments = ["stores", "show", "evt_1", "--source", "billing"]
    said = await command(*arguments, "--json", url=url)
    key = str(Key("webhook:billing", "evt_1"))
    assert (said.exit_code, json.loads(said.stdout)) == (1, {"key": key, "claim": None})
    assert "unknown" in (await command(*arguments, url=url)).stdout

    held = await claim(store, key, "holder")
    assert held.outcome is Outcome.FRESH
    assert "held by holder" in (await command(*arguments, url=url)).stdout

    assert await store.complete([Settlement(held, 60, b"result")]) == [True]
    said = await command(*arguments, url=url)
    assert (said.exit_code, "done by holder" in said.stdout) == (0, True)
    facts = json.loads((await command(*arguments, "--json", url=url)).stdout)["claim"]
    assert (facts["state"], facts["result_bytes"]) == ("done", 6)
    assert 0 < facts["remaining"] <= 60


@pytest.mark.parametrize("name", [None, "replies"])
async def test_reset_budget(store, url, name):
    """A person gives a thread its budget back, and the next event of it is handled."""
    budget = Budget(2, 300, name=name)

    async def send():
        return "sent"

    async def spend(dedup):
        event = Event(Key("agent", "1", "acme"), "agent", "1", subject="thread")
        passage = Passage(event, None, dedup.engine, dedup.record, lambda _: None)
        return await budget.run(passage, send)

    whose = ["--source", "agent"] if name is None else ["--name", name]
    arguments = ["stores", "reset-budget", "thread", "--sends", "2", "--tenant", "acme", *whose]
    async with Dedup(store, seen_cache=0) as dedup:
        assert (await command(*arguments, url=url)).exit_code == 1
        for _ in range(2):
            await spend(dedup)
        with pytest.raises(OverBudget):
            await spend(dedup)
        said = await command(*arguments, url=url)
        assert (said.exit_code, "whole budget" in said.stdout) == (0, True), said.output
        assert await spend(dedup) == "sent"


@pytest.mark.parametrize(("more", "hint"), [([], "whose budget"), (["--name", "a"], "1 to 100")])
async def test_wrong_budget(url, more, hint):
    """A budget that cannot be is refused."""
    done = await command("stores", "reset-budget", "thread", "--sends", "0", *more, url=url)
    assert (done.exit_code, hint in done.stderr) == (2, True)


@pytest.mark.parametrize("verb", ["forget", "show"])
@pytest.mark.parametrize("url", ["memory://", "bloom://", ""])
async def test_nothing_to_look_into(url, verb):
    """A store inside another process is refused in one sentence."""
    done = await command("stores", verb, "evt_1", "--source", "stripe", url=url)
    assert (done.exit_code, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


async def test_no_table(postgres_url):
    """An absent table is not made."""
    for _ in range(2):
        done = await command("stores", "forget", "e", "--source", "s", url=postgres_url)
        assert (done.exit_code, "absent" in done.stderr) == (1, True)
