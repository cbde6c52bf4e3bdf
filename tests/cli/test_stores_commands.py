"""A person looks up or forgets one event, under the key that the middleware gave it."""

import json

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.asgi.kit import Records, deliver
from tests.cli.operating import command
from webhook_dedup import (
    Dedup,
    Event,
    IdempotencyMiddleware,
    Source,
    deduplicate,
    fan_out,
    idempotent,
    once,
    open_store,
)
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


async def _asked(verb, logged, url, *more):
    """Ask about what a record names, in the words of its log line."""
    tenant = ["--tenant", logged.tenant] if logged.tenant else []
    named = [logged.event_id, "--source", logged.source, *tenant, *more]
    return await command("stores", verb, *named, url=url)


def _app(request_store):
    async def order(request):
        return JSONResponse({"order": 1}, status_code=201)

    app = Starlette(routes=[Route("/orders", order, methods=["POST"])])
    app.add_middleware(IdempotencyMiddleware, store=request_store, paths=["/orders"])
    return app


async def _once(dedup):
    async with once(dedup, "order-17-confirmation"):
        pass


async def _deduplicated(dedup):
    await deduplicate(dedup, key=lambda order: order)(_bare)("17")


async def _idempotent(dedup):
    await idempotent(dedup, key=lambda order: ("ann", order))(_bare)("17")


async def _consumed(dedup):
    await fan_out(dedup, Event(Key("webhook:shop", "evt_1", "acme"), "shop", "evt_1"), _bare)


async def _bare(_):
    return 1


@pytest.mark.parametrize("use", [_once, _deduplicated, _idempotent, _consumed])
async def test_what_a_log_line_names(store, url, use):
    """A key is found and forgotten by what its log line says, whoever claimed it."""
    records = Records()
    async with Dedup(store, observers=[records]) as dedup:
        await use(dedup)
    shown = await _asked("show", records.all[-1], url)
    assert (shown.exit_code, "done by" in shown.stdout) == (0, True), shown.output
    forgotten = await _asked("forget", records.all[-1], url)
    assert (forgotten.exit_code, "forgotten" in forgotten.stdout) == (0, True), forgotten.output
    assert (await _asked("show", records.all[-1], url)).exit_code == 1


async def test_key_of_a_request(store, url):
    """The key of an idempotent request is found with its method and path; without, that is said."""
    records = Records()
    async with Dedup(store, observers=[records]) as dedup:
        headers = {"idempotency-key": '"k-1"', "authorization": "Bearer ann"}
        assert (await deliver(_app(dedup), b"{}", headers=headers, path="/orders")).status == 201
    for verb in ("show", "forget"):
        asked = await _asked(verb, records.all[-1], url)
        assert (asked.exit_code, "--request" in asked.stdout) == (1, True)
        assert "next delivery runs" not in asked.stdout
    for verb in ("show", "forget"):
        asked = await _asked(verb, records.all[-1], url, "--request", "post /orders")
        assert asked.exit_code == 0, asked.output
    asked = await _asked("show", records.all[-1], url, "--request", "post /orders")
    assert (asked.exit_code, "--request" in asked.stdout) == (1, False)


async def test_request_without_a_path(url):
    """What is no request is refused with an example."""
    asked = ["stores", "show", "k-1", "--source", "idempotency", "--request", "/orders"]
    done = await command(*asked, url=url)
    assert (done.exit_code, "'POST /orders'" in done.stderr) == (2, True)


async def test_lock_of_a_subject(store, url):
    """A lock is found by the name it has in an error."""
    await claim(store, str(Key("lock:agent", "thread-1", "acme")), "holder")
    asked = ["thread-1", "--source", "lock:agent", "--tenant", "acme"]
    assert "held by holder" in (await command("stores", "show", *asked, url=url)).stdout


async def test_event_of_a_source_is_forgotten_first(store, url):
    """Where a source and a function have one name, one key is forgotten at a time, and told."""
    for scope in ("webhook:shop", "shop"):
        await claim(store, str(Key(scope, "1")), "holder")
    asked = ["stores", "forget", "1", "--source", "shop", "--json"]
    for scope in ("webhook:shop", "shop"):
        said = json.loads((await command(*asked, url=url)).stdout)
        assert said == {"key": str(Key(scope, "1")), "forgotten": True}
    assert (await command(*asked, url=url)).exit_code == 1
