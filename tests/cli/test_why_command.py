"""``why`` tells what became of an event, in situations that were prepared for it."""

import asyncio
import json
import re
import sqlite3
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from tests.asgi.kit import Handler, Records, deliver, living, policy, source, until
from tests.cli.operating import app_inbox, command, item
from tests.observe.aging import age
from webhook_dedup import (
    Dedup,
    Discard,
    IdempotencyMiddleware,
    Retries,
    StoreUnavailable,
    WebhookDedup,
    open_store,
)
from webhook_dedup.model import Bid, Key, Settlement
from webhook_dedup.observe.history import History
from webhook_dedup.observe.record import Kind, Record

DAY = 86_400.0
SLOW = Retries(attempts=2, initial=3600, jitter=0)


@pytest.fixture
def file_url(tmp_path):
    """The URL of an empty store in a file."""
    return f"sqlite:///{tmp_path}/webhooks.db"


async def why(url, *arguments):
    """The answer for machines, beside the one for people."""
    done = await command("why", *arguments, "--json", url=url)
    words = await command("why", *arguments, url=url)
    assert done.exit_code == words.exit_code, (done.output, words.output)
    return done.exit_code, json.loads(done.stdout)["sources"], words.stdout


async def told(url, *arguments):
    """The one story there is, its verdict and the text for people."""
    code, stories, words = await why(url, "evt_1", *arguments)
    assert code == 0, words
    (story,) = stories
    assert _timeless(story["summary"]) in _timeless(words)
    return story, words


def _timeless(text):
    # What is left of a lease or a TTL is another second later on.
    return re.sub(r"\d+", "#", text)


@asynccontextmanager
async def served(url, handler, **options):
    """An app that keeps a history beside its store."""
    store = open_store(url)
    history = History(store, every=0.01)
    records = Records()
    chosen = {"sources": [source()], "policy": policy(retries=SLOW), **options}
    app = WebhookDedup(handler, store=store, observers=[records, history], **chosen)
    async with living(app):
        yield app, records
    await store.aclose()


async def kept(url, *records):
    """Keep records as an app would."""
    store = open_store(url)
    await store.start()
    history = History(store)
    for record in records:
        history.record(record)
    assert await history.flush()
    await history.aclose()
    await store.aclose()


def record(kind, at=1_700_000_000.0, **fields):
    return Record(kind, "shop", event_id="evt_1", delivery_id="d1", at=at, **fields)


async def test_handled_once_of_five(url):
    """1: five copies at once and one later; one ran, and the others are told as duplicates."""
    handler = Handler()
    handler.gate.clear()
    async with served(url, handler) as (app, records):
        copies = [asyncio.ensure_future(deliver(app)) for _ in range(5)]
        await handler.inside.wait()
        handler.gate.set()
        await asyncio.gather(*copies)
        await deliver(app)
        await until(lambda: len(records.of(Kind.SKIPPED)) == 5)
    story, words = await told(url)
    assert story["verdict"] == "done"
    assert "it was handled" in words
    assert "It arrived 6 times and ran once, 5 skipped as duplicate." in words
    assert "run 1 began on" in words
    assert "arrived by POST /hooks, 15 bytes" in words
    assert f", the first is delivery {story['claim']['holder'].rpartition('.')[0]}" in words
    assert story["claim"]["state"] == "done"


async def test_being_handled(url):
    """2: the handler runs now, on this process, under a lease."""
    handler = Handler()
    handler.gate.clear()
    async with served(url, handler) as (app, _):
        running = asyncio.ensure_future(deliver(app))
        await handler.inside.wait()
        await app.dedup.record.observers[-1].flush()
        story, words = await told(url)
        handler.gate.set()
        await running
    assert story["verdict"] == "running"
    assert "it is being handled since" in words
    assert "the lease ends in" in words


async def test_waits_for_its_retry(url):
    """3: the first run failed; when the next is due is told, and why."""
    async with served(url, Handler(ValueError("no such customer"))) as (app, _):
        await deliver(app)
    story, words = await told(url)
    assert story["verdict"] == "waiting"
    assert "one attempt failed, the last with ValueError: no such customer" in words
    assert "; the next is due" in words
    assert story["history"][-1]["kind"] == "retried"
    assert "ValueError" in story["history"][-2]["traceback"]


async def test_dead(url):
    """4: a dead letter names the command that runs it again."""
    async with served(url, Handler(422)) as (app, _):
        await deliver(app)
    story, words = await told(url)
    assert story["verdict"] == "dead"
    assert f"inbox replay {story['inbox'][0]['id']}" in words
    assert "the handler answered 422" in words


async def test_discarded(url):
    """5: an event that its handler discarded is done, and the reason told."""
    async with served(url, Handler(Discard("not for us"))) as (app, _):
        await deliver(app)
    story, words = await told(url)
    assert story["verdict"] == "done"
    assert "its handler discarded it (not for us)" in words


async def test_forgotten(url):
    """6: the store remembers it no more, so that another copy would run again."""
    async with served(url, Handler()) as (app, _):
        await deliver(app)
        await app.dedup.store.forget(str(Key("webhook:shop", "evt_1")))
    story, words = await told(url)
    assert story["verdict"] == "forgotten"
    assert "another copy would run again" in words


async def test_never_ran(url):
    """7: a filter left it out."""
    await kept(
        url, record(Kind.RECEIVED), record(Kind.SKIPPED, reason="filtered", at=1_700_000_001)
    )
    story, words = await told(url)
    assert story["verdict"] == "skipped"
    assert "it never ran: a filter leaves it out." in words


async def test_nobody_works(url):
    """8: it was accepted for workers, and no run has begun."""
    async with served(url, Handler(), work=False) as (app, _):
        await deliver(app)
    story, words = await told(url)
    assert story["verdict"] == "waiting"
    assert "no run has begun. Is a worker running?" in words


async def test_its_process_died(url):
    """9: a run began, its process died and its lease is over."""
    held = replace(item("d1", source="shop"), key=str(Key("webhook:shop", "evt_1")))
    async with app_inbox(url) as inbox:
        await inbox.put([held], 600)
        assert await inbox.begin([held]) == [True]
    await kept(url, record(Kind.RECEIVED), record(Kind.STARTED, attempt=1, at=1_700_000_001))
    story, words = await told(url)
    assert story["verdict"] == "waiting"
    assert "a run began and did not end" in words


async def test_its_process_told_nothing(url):
    """9: what a killed process had not written yet is told by the number of the attempt."""
    own = {"reason": "in_flight", "original": "in_flight", "original_id": "d1"}
    await kept(
        url,
        record(Kind.DEFERRED, at=1_700_000_001, **own),
        record(Kind.STARTED, attempt=2, at=1_700_000_002),
        record(Kind.SUCCEEDED, attempt=2, at=1_700_000_003),
    )
    _, words = await told(url)
    assert "It arrived once and ran twice." in words  # though nobody told of the arrival either
    assert "put off: an earlier run of its own did not end" in words
    assert "another copy is being handled" not in words


async def test_its_process_died_in_its_first_run(url):
    """9: the inbox alone knows that the run began."""
    held = replace(item("d1", source="shop"), key=str(Key("webhook:shop", "evt_1")))
    async with app_inbox(url) as inbox:
        await inbox.put([held], 600)
        assert await inbox.begin([held]) == [True]
    await kept(url, record(Kind.RECEIVED))
    _, words = await told(url)
    assert "It arrived once and ran once." in words


@pytest.mark.parametrize(
    ("records", "times"),
    [
        (((Kind.STARTED, 1), (Kind.BURIED, 2)), "once"),  # given up before its second run
        (((Kind.STARTED, 1), (Kind.DEFERRED, 1), (Kind.STARTED, 1)), "twice"),  # put off
        (((Kind.STARTED, 2), (Kind.DEFERRED, 2), (Kind.STARTED, 2)), "3 times"),
        (((Kind.STARTED, 1), (Kind.BURIED, 1), (Kind.STARTED, 1)), "twice"),  # replayed
        (((Kind.RECOVERED, None),), "once"),  # which only its claim knew of
        (((Kind.SUCCEEDED, None),), "once"),  # an item that its handler settled
    ],
)
async def test_how_often_it_ran(file_url, records, times):
    """9: runs are counted, not the numbers of attempts."""
    each = (
        record(kind, attempt=attempt, at=1_700_000_001 + after)
        for after, (kind, attempt) in enumerate(records)
    )
    await kept(file_url, record(Kind.RECEIVED), *each)
    _, words = await told(file_url)
    assert f"It arrived once and ran {times}." in words


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ((), "arrived twice and ran once, 1 skipped as duplicate."),
        ((Kind.RECEIVED, Kind.STARTED), "arrived twice and ran once, 1 skipped as duplicate."),
        (
            (Kind.STARTED, Kind.FAILED, Kind.RETRIED),
            "arrived twice and ran twice, 1 skipped as duplicate.",
        ),
    ],
)
async def test_the_run_that_only_its_claim_knows(url, own, said):
    """9: an event that is done was run, though a killed process told of no run that ended well."""
    store = open_store(url)
    [claim] = await store.claim([Bid(str(Key("webhook:shop", "evt_1")), "d1.token", 60.0)])
    assert await store.complete([Settlement(claim, DAY)]) == [True]
    await store.aclose()
    first = [record(kind, at=1_700_000_000.0 + n) for n, kind in enumerate(own)]
    copy = [
        replace(record(kind, at=1_700_000_009.0 + n, **fields), delivery_id="d2")
        for n, (kind, fields) in enumerate(
            [(Kind.RECEIVED, {}), (Kind.SKIPPED, {"reason": "duplicate", "original_id": "d1"})]
        )
    ]
    await kept(url, *first, *copy)
    _, words = await told(url)
    assert said in words


async def test_how_often_it_ran_after_a_replay(file_url):
    """9: a replay counts attempts anew, also those that died before anybody told of them."""
    held = replace(item("d1", source="shop"), key=str(Key("webhook:shop", "evt_1")), attempts=3)
    async with app_inbox(file_url) as inbox:
        await inbox.put([held], 600)
    each = [
        record(kind, attempt=attempt, at=1_700_000_000 + attempt)
        for attempt in range(1, 5)
        for kind in (Kind.STARTED, Kind.FAILED)
    ]
    by_hand = record(Kind.RETRIED, reason="replayed", at=1_700_000_009)
    await kept(file_url, *each, record(Kind.BURIED, attempt=4, at=1_700_000_008), by_hand)
    _, words = await told(file_url)
    assert "It arrived once and ran 7 times." in words


async def test_failed_for_good(url):
    """10: with the handler before the answer nothing keeps a failed delivery but its sender."""
    async with served(url, Handler(500), sources=[source(ack="handled")]) as (app, _):
        assert (await deliver(app)).status == 500
    story, words = await told(url)
    assert story["verdict"] == "failed"
    assert "it runs when its sender sends it again" in words


async def test_put_off(url):
    """11: the store did not answer the bid, so it waits uncounted."""
    async with app_inbox(url) as inbox:
        await inbox.put([item("d1", source="shop")], 600)
    await kept(url, record(Kind.DEFERRED, reason="store_away", detail="redis: away"))
    story, words = await told(url)
    assert story["verdict"] == "waiting"
    assert "the store did not answer (redis: away)" in words


async def test_lost(url):
    """12: a run began and nothing else is known of it."""
    await kept(url, record(Kind.STARTED, attempt=1))
    story, words = await told(url)
    assert story["verdict"] == "lost"
    assert "nobody told of its end" in words


async def test_unknown(url):
    """13: nothing is known, and what could be asked besides is said."""
    await kept(url, record(Kind.RECEIVED))
    code, stories, words = await why(url, "evt_2")
    assert (code, stories) == (1, [])
    assert "can only be asked with --source" in words
    assert "never arrived" in words
    code, stories, words = await why(url, "evt_2", "--source", "shop")
    assert (code, stories[0]["verdict"]) == (1, "unknown")
    assert "longer ago than anything is kept" in words


async def test_without_a_history(tmp_path):
    """14: without a history the claim and the inbox tell, and how to get one is said."""
    url = f"sqlite:///{tmp_path}/webhooks.db"
    store = open_store(url)
    await store.claim([Bid(str(Key("webhook:shop", "evt_1", "acme")), "d1.x", 60)])
    await store.aclose()
    story, words = await told(url, "--source", "shop", "--tenant", "acme")
    assert story["verdict"] == "running"
    assert "evt_1 of shop (acme): it is being handled by delivery d1" in words
    assert "No history is kept beside this store" in words
    _, stories, words = await why(url, "evt_1")
    assert stories == []
    assert "never arrived" not in words  # the store was not asked, and it knows
    assert "can only be asked with --source" in words


async def test_two_sources_and_tenants(url):
    """15: one id of two senders makes two stories, tenants apart."""
    at_acme = replace(item("d1", source="shop"), key=str(Key("webhook:shop", "evt_1", "acme")))
    async with app_inbox(url) as inbox:
        await inbox.put([at_acme], 600)
    other = replace(record(Kind.SKIPPED, reason="self_sent"), source="git", tenant="x")
    await kept(url, record(Kind.RECEIVED, tenant="acme"), other)
    code, stories, words = await why(url, "evt_1")
    assert code == 0
    assert [(s["source"], s["tenant"]) for s in stories] == [("git", "x"), ("shop", "acme")]
    assert (len(stories[1]["inbox"]), len(stories[1]["history"])) == (1, 1)
    assert "the app itself caused it" in words
    _, stories, _ = await why(url, "evt_1", "--tenant", "x")
    assert [s["source"] for s in stories] == ["git"]
    code, stories, _ = await why(url, "evt_1", "--tenant", "nobody")
    assert (code, stories) == (1, [])


async def test_an_idempotent_request(url, tmp_path):
    """16: the claim of a request is found by what its records say, or by what one is told."""
    for history in (True, False):
        place = url if history else f"sqlite:///{tmp_path}/untold.db"
        store = open_store(place)
        observers = [History(store, every=0.01)] if history else []
        records = Records()
        async with Dedup(store, observers=[records, *observers]) as dedup:
            app = IdempotencyMiddleware(Handler(201), store=dedup, paths=["/orders"])
            headers = {"idempotency-key": '"evt_1"', "authorization": "Bearer ann"}
            answer = await deliver(app, b"{}", headers=headers, path="/orders")
            assert answer.status == 201
        await store.aclose()
        assert records.all[-1].event_type == "POST /orders"
        named = ["--source", "idempotency", "--tenant", records.all[-1].tenant]
        story, words = await told(
            place, *(named if history else [*named, "--request", "post /orders"])
        )
        assert story["verdict"] == "done"
        assert story["claim"]["state"] == "done"
        assert "it was handled" in words
        assert "by delivery" not in words


async def test_no_request(url):
    """What is no request is refused with an example."""
    done = await command("why", "evt_1", "--request", "/orders", url=url)
    assert done.exit_code == 2
    assert "write 'POST /orders'" in done.stderr


@pytest.mark.parametrize("place", ["", "memory://", "nothing://x"])
async def test_misused(place):
    """A store nobody else can look into is a mistake, told in one line."""
    done = await command("why", "evt_1", url=place)
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1


async def test_senders_cannot_steer_the_terminal(url):
    """Control characters in whatever a sender chose are shown escaped."""
    evil = "evt_1\x1b[2J\n\u202e"
    await kept(url, replace(record(Kind.FAILED, detail="a\x1b]0;b"), event_id=evil))
    done = await command("why", evil, url=url)
    assert done.exit_code == 0
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout


@pytest.mark.parametrize("asking", [["why", "evt_1"], ["tail", "--no-follow"]])
async def test_looking_deletes_nothing(url, asking):
    """What an app keeps for longer than usual is still there after a look at it."""
    await kept(url, record(Kind.RECEIVED))
    history = History(url, create=False)
    await age(history, 10 * DAY)
    done = await command(*asking, url=url)
    assert len(await history.find()) == 1
    await history.aclose()
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize("more", [[], ["--source", "shop"], ["--json"]])
async def test_a_table_that_is_not_there(url, more):
    """A wrong name of the table is told; an event that lies elsewhere is not called unknown."""
    await kept(url, record(Kind.SUCCEEDED))
    wrong = f"{url}?table=other_claims"
    done = await command("why", "evt_1", *more, url=wrong)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "table other_claims is absent; is this the store the app uses?\n"
    done = await command("why", "evt_1", *more, "--inbox", wrong, url=url)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("table other_inbox is absent")


@pytest.mark.parametrize("table", ["inbox", "history"])
async def test_a_table_of_another_release(file_url, table):
    """What cannot be read is not called empty: the event may be in it."""
    await kept(file_url, record(Kind.SUCCEEDED))
    async with app_inbox(file_url) as inbox:
        await inbox.put([item("d1", source="shop")], 600)
    with sqlite3.connect(file_url.removeprefix("sqlite:///")) as database:
        database.execute(f"UPDATE webhook_dedup_{table}_version SET version = 99")
    done = await command("why", "evt_1", url=file_url)
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"table webhook_dedup_{table} has version 99" in done.stderr
    assert "use the release that made it" in done.stderr


async def test_refused(file_url):
    """An event that could not be recorded was refused, and its sender is waited for."""
    async with served(file_url, Handler()) as (app, records):
        inbox = app.dedup.inbox
        put, inbox.put = inbox.put, _is_away
        assert (await deliver(app)).status == 503
        inbox.put = put
        assert records.kinds == ["received", "store_error", "rejected"]
    story, words = await told(file_url)
    assert story["verdict"] == "rejected"
    assert "it was refused" in words
    assert "(the delivery could not be recorded); it runs when its sender sends it again" in words


async def _is_away(*_):
    raise StoreUnavailable("told to be away")
