"""``IdempotencyMiddleware`` beyond the draft: what is kept, for whom, and what can go wrong."""

from __future__ import annotations

import asyncio
import gzip
import json
import uuid

import pytest
from fastapi import Depends, FastAPI, Response
from pydantic import BaseModel

from webhook_dedup import AlreadyDone, ConfigError, Dedup, Discard, IdempotencyMiddleware
from webhook_dedup.asgi import held_response
from webhook_dedup.errors import LeaseLost, MissingPower
from webhook_dedup.stores import open_store

from ..asgi.kit import TestClient, deliver, http_scope
from ..core.kit import CueStore, Records, eventually
from .shop import ADA, BOB, ORDER, Shop, is_problem, replayed

LARGEST = 64 * 1024


def client_body(client_id, **more) -> bytes:
    return json.dumps({"client_id": client_id, **more}).encode()


async def an_async_caller(scope) -> str:
    return "all"


async def test_replay_on_every_store(store_url):
    """On every store the first response is sent again, byte for byte, and another key's is not."""
    shop = Shop(store_url)
    shop.chunks = [bytes(range(256)), b"%d"]
    first, again = await shop.order(), await shop.order()
    assert again.body == first.body == bytes(range(256)) + b"1"
    assert (again.status, replayed(again), replayed(first)) == (201, True, False)
    assert (await shop.order('"k2"')).body.endswith(b"2")


async def test_two_callers_on_every_store(store_url):
    """On every store two users with one key and one request get a response each, their own."""
    shop = Shop(store_url)
    bodies = {}
    for _ in range(2):
        for name, by in {"ada": ADA, "bob": BOB, "cookie": {"cookie": "session=1"}}.items():
            bodies.setdefault(name, set()).add((await shop.order(by=by)).body)
    assert sorted(bodies.values()) == [{b'{"order": 1}'}, {b'{"order": 2}'}, {b'{"order": 3}'}]


async def test_fifty_at_once_on_every_store(store_url):
    """On every store one of fifty requests at once is handled; those that wait get its response."""
    shop = Shop(store_url, wait=30)
    replies = await asyncio.gather(*(shop.order() for _ in range(50)))
    assert {(reply.status, reply.body) for reply in replies} == {(201, b'{"order": 1}')}
    assert len(shop.runs) == 1


@pytest.mark.parametrize("between", [False, True])
async def test_two_of_one_scope_around_an_app_are_as_one(between):
    """One of a framework's and one of the app's own: the inner found its own request under way."""
    dedup = Dedup("memory://")
    shop = Shop(dedup, scope="shop", required=True)
    if between:
        shop.app = IdempotencyMiddleware(shop.app, store=dedup, scope="between")
    shop.app = IdempotencyMiddleware(shop.app, store=dedup, scope="shop")
    first, again, other = await shop.order(), await shop.order(), await shop.order(by=BOB)
    assert (first.status, first.body, replayed(first)) == (201, b'{"order": 1}', False)
    assert (again.status, again.body, replayed(again)) == (201, b'{"order": 1}', True)
    assert other.body == b'{"order": 2}'


async def test_credentials_make_the_caller():
    """Authorization and Cookie together are one caller; who shows neither is refused."""
    shop = Shop()
    await shop.order(by=ADA)
    for by in [{**ADA, "cookie": "a=1"}, {**ADA, "cookie": "a=2"}, {"cookie": "a=1"}]:
        assert not replayed(await shop.order(by=by))
    assert is_problem(await shop.order(by={}), 400, "caller_unknown")
    assert len(shop.runs) == 4


async def test_cookies_in_pieces():
    """The cookies of a caller may come piece by piece over HTTP/2, and whole in the retry."""
    shop = Shop()
    key = (b"idempotency-key", b"k1")
    replies = [
        await deliver(shop.app, ORDER, path="/orders", headers=[key, *cookies])
        for cookies in (
            [(b"cookie", b"a=1"), (b"cookie", b"b=2")],
            [(b"cookie", b"a=1; b=2")],
            [(b"cookie", b"a=1"), (b"cookie", b"b=3")],
        )
    ]
    assert [replayed(reply) for reply in replies] == [False, True, False]


@pytest.mark.parametrize("header", ["authorization", "cookie"])
async def test_blank_credentials_tell_nobody_apart(header):
    """An empty header does not make one caller of all who send it."""
    assert is_problem(await Shop().order(by={header: " "}), 400, "caller_unknown")


async def test_caller_of_your_own():
    """``caller=`` says who sent a request, whatever credentials it carries."""
    shop = Shop(caller=lambda scope: dict(scope["headers"]).get(b"x-user", b"").decode() or None)
    await shop.order(headers={"x-user": "ada"})
    assert replayed(await shop.order(by=BOB, headers={"x-user": "ada"}))
    assert not replayed(await shop.order(headers={"x-user": "bob"}))
    assert (await shop.order()).status == 400


@pytest.mark.parametrize("unsure", [None, "", " "])
async def test_nobody_is_no_caller(unsure):
    """Callers whom ``caller=`` cannot name are refused, and not one caller together."""
    shop = Shop(caller=lambda scope: unsure)
    assert is_problem(await shop.order(), 400, "caller_unknown")


async def test_body_that_is_packed_anew():
    """A retry packed at another time or level is the same; what says something else is not."""
    shop = Shop()
    packed = {"content-encoding": "gzip"}
    bodies = [gzip.compress(ORDER, level, mtime=level) for level in (1, 9)]
    replies = [await shop.order(body=body, headers=packed) for body in bodies]
    assert [replayed(reply) for reply in replies] == [False, True]
    assert (await shop.order(body=gzip.compress(b"{}"), headers=packed)).status == 422
    assert (await shop.order(body=b"no gzip", headers=packed)).status == 422
    two = gzip.compress(ORDER) + gzip.compress(ORDER)  # which others read as one text
    assert (await shop.order(body=two, headers=packed)).status == 422


async def test_client_id_in_the_body():
    """A key may be in the JSON body; another body with it is a mismatch, none needs none."""
    shop = Shop(client_id="client_id")
    first = await shop.order(None, client_body("c1", item="tea"))
    again = await shop.order(None, client_body("c1", item="tea"))
    assert (again.body, replayed(again)) == (first.body, True)
    assert (await shop.order(None, client_body("c1", item="milk"))).status == 422
    for body in [ORDER, client_body(None), b"no json", b""]:
        assert [(await shop.order(None, body)).status for _ in range(2)] == [201, 201]
    assert shop.runs[1:3] == [ORDER, ORDER]


async def test_client_id_in_what_unpacks_to_too_much():
    """A body that holds more than may be read is refused, lest it be handled without its key."""
    shop = Shop(client_id="client_id", max_body=1_000)
    packed = {"content-encoding": "gzip"}
    for size, status in ((800, 201), (1_000, 413)):
        body = gzip.compress(client_body("k1", padding="x" * size))
        assert (await shop.order(None, body, headers=packed)).status == status
    assert len(shop.runs) == 1


async def test_client_id_deep_in_the_body():
    """Any JMESPath finds it; where the header is there too, the header counts."""
    shop = Shop(client_id="meta.ids[0]")
    body = b'{"meta": {"ids": ["c1"]}}'
    await shop.order(None, body)
    assert replayed(await shop.order(None, body))
    assert not replayed(await shop.order('"k1"', body))


@pytest.mark.parametrize(
    ("client_id", "why"),
    [
        ({"a": 1}, "got an object"),
        (1.5, "got a fraction"),
        (True, "got a boolean"),
        ("c" * 256, "longer than 255"),
        (10**255, "longer than 255"),
        pytest.param(10**400, "longer than 255", id="a long number"),
        ("", "it is blank"),
        (" \t", "it is blank"),
    ],
)
async def test_client_ids_that_are_none(client_id, why):
    """An id that is blank, no text, or too long is refused as a key in the header would be."""
    shop = Shop(client_id="client_id")
    reply = await shop.order(None, client_body(client_id))
    assert is_problem(reply, 400, "bad_key")
    assert reply.json()["detail"].startswith("The idempotency key cannot be used: ")
    assert why in reply.json()["detail"]
    assert shop.runs == []


async def test_required_by_path():
    """A key may be required on some paths only, and what is not guarded needs none."""
    shop = Shop(required=["/orders"], paths=iter(["/orders", "/carts/"]))
    assert (await shop.order(None)).status == 400
    assert (await shop.order(None, path="/orders/7/lines")).status == 400
    assert (await shop.order(None, path="/ordersome")).status == 201
    assert (await shop.order(None, path="/carts")).status == 201
    assert (await shop.order(None, path="/mounted/orders", root_path="/mounted")).status == 400
    assert not replayed(await shop.order(path="/else"))
    assert not replayed(await shop.order(path="/else"))


@pytest.mark.parametrize("required", ["/", "/orders", "/orders/7", ["/orders/"]])
async def test_required_above_or_below_what_is_guarded(required):
    """A path that meets a guarded one holds where they meet."""
    shop = Shop(required=required, paths=["/orders"])
    assert (await shop.order(None, path="/orders/7")).status == 400
    assert (await shop.order(None, path="/carts")).status == 201


async def test_other_methods_pass():
    """A GET with a key is what it is without; other methods may be told to count."""
    shop = Shop(required=True)
    assert [(await shop.order(method="GET")).json()["order"] for _ in range(2)] == [1, 2]
    shop = Shop(methods=["put"])
    await shop.order(method="PUT")
    assert replayed(await shop.order(method="PUT"))
    assert not replayed(await shop.order(method="POST"))


@pytest.mark.parametrize("written", [{"method": "post"}, {"path": "/orders\n"}])
async def test_no_spelling_evades_the_key(written):
    """What an app may take for a guarded request is guarded, however it is written."""
    shop = Shop(required=True, paths=["/orders"])
    assert (await shop.order(None, **written)).status == 400
    assert shop.runs == []


@pytest.mark.parametrize("path", ["/orders", "/api/orders"])
async def test_root_path_of_a_fastapi_app_evades_no_key(path):
    """Around a FastAPI app paths are found below its root_path, as its router finds them."""
    app = FastAPI()
    app.root_path = "/api"  # the argument for it warns in newer versions
    app.post("/orders")(an_async_caller)
    guarded = IdempotencyMiddleware(app, store="memory://", paths=["/orders"], required=True)
    assert is_problem(await deliver(guarded, ORDER, headers=ADA, path=path), 400, "key_missing")


async def test_one_method_in_two_spellings():
    """A request is the same in small letters, for apps to which it is."""
    shop = Shop()
    await shop.order()
    assert replayed(await shop.order(method="post"))


async def test_required_client_id_says_where():
    """The problem of a missing key names both places it may be in."""
    shop = Shop(required=True, client_id="client_id")
    reply = await shop.order(None)
    assert is_problem(reply, 400, "key_missing")
    assert "Idempotency-Key or a client id in its body" in reply.json()["detail"]


async def test_statuses_of_your_own():
    """The statuses of problems may be others, and a replay may have a status of its own."""
    shop = Shop(
        required=True,
        missing_status=428,
        in_progress_status=423,
        mismatch_status=409,
        replay_status={201: 200},
    )
    assert is_problem(await shop.order(None), 428, "key_missing")
    first = await shop.begun()
    assert is_problem(await shop.order(), 423, "in_progress")
    shop.gate.set()
    assert [(await first).status, (await shop.order()).status] == [201, 200]
    assert is_problem(await shop.order(body=b"{}"), 409, "key_reused")


async def test_headers_of_replays():
    """Headers are sent again, except those that belonged to one client or one moment."""
    shop = Shop()
    shop.headers = [
        (b"location", b"/orders/1"),
        (b"set-cookie", b"session=secret"),
        (b"Set-Cookie", b"other=secret"),
        (b"date", b"Thu, 01 Jan 2026 00:00:00 GMT"),
        (b"link", b"</a>; rel=a"),
        (b"link", b"</b>; rel=b"),
    ]
    first, again = await shop.order(), await shop.order()
    assert "set-cookie" in first.headers
    assert {"set-cookie", "date"}.isdisjoint(again.headers)
    links = [value for name, value in again.messages[0]["headers"] if name == b"link"]
    assert links == [b"</a>; rel=a", b"</b>; rel=b"]
    assert again.headers["location"] == "/orders/1"
    assert again.headers["content-length"] == str(len(first.body))


async def test_streams_go_out_as_they_come():
    """A streamed response is forwarded chunk by chunk, and replayed whole."""
    shop = Shop()
    seen = []
    shop.chunks = [b"a" * 1000] * 5
    await shop.order(on_send=seen.append)
    assert [len(message.get("body", b"")) for message in seen[1:]] == [1000] * 5 + [0]
    assert (await shop.order()).body == b"a" * 5000


async def test_end_is_sent_when_the_response_is_kept():
    """The last message waits for the store, so that a client that has it all can count on it."""
    store = CueStore()
    shop = Shop(store)
    gate = store.shut("complete")
    seen = []
    task = asyncio.ensure_future(
        deliver(shop.app, ORDER, headers={"idempotency-key": "k", **ADA}, on_send=seen.append)
    )
    await eventually(lambda: store.keys_of("complete"))
    assert len(seen) == 3
    assert all(message["more_body"] for message in seen[1:])
    gate.set()
    await task
    assert not seen[-1].get("more_body", False)


@pytest.mark.parametrize(("size", "kept"), [(LARGEST, True), (LARGEST + 1, False)])
async def test_large_responses(size, kept):
    """A response of up to 64 KiB is kept; of a larger one the retry is told so, and not handled."""
    shop = Shop()
    shop.chunks = [b"x" * size]
    first = await shop.order()
    assert len(first.body) == size
    again = await shop.order()
    if kept:
        assert again.body == first.body
    else:
        assert is_problem(again, 409, "response_not_kept")
    assert len(shop.runs) == 1


async def test_files_are_kept_like_other_responses():
    """A server that could send files by itself is not asked to: they would escape being kept."""

    async def app(scope, receive, send):
        assert scope["extensions"] == {"http.response.push": {}}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"file"})

    app = IdempotencyMiddleware(app, store="memory://", scope="files")
    extensions = {"http.response.pathsend": {}, "http.response.push": {}}
    for _ in range(2):
        headers = {"idempotency-key": "k", **ADA}
        reply = await deliver(app, ORDER, headers=headers, extensions=dict(extensions))
        assert reply.body == b"file"


async def test_large_requests():
    """A body larger than can be compared is refused with 413; without a key it passes."""
    shop = Shop(max_body=10)
    reply = await shop.order(body=b"x" * 11)
    assert is_problem(reply, 413, "body_too_large")
    assert (await shop.order(None, body=b"x" * 11)).status == 201


async def test_forms_are_compared_without_their_boundary():
    """A form that is built anew has another boundary and is the same request."""
    shop = Shop()
    for boundary in ("aaa", "bbb"):
        body = (
            f'--{boundary}\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n--{boundary}--'
        )
        headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
        reply = await shop.order(body=body.encode(), headers=headers)
    assert replayed(reply)


async def test_an_exception_frees_the_key():
    """What the app raises goes to the server, and the next request is handled."""
    outcomes = [OSError("no route"), None]

    async def app(scope, receive, send):
        outcome = outcomes.pop(0)
        if outcome:
            raise outcome
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    app = IdempotencyMiddleware(app, store="memory://", scope="exceptions")
    headers = {"idempotency-key": "k", **ADA}
    with pytest.raises(OSError, match="no route"):
        await deliver(app, ORDER, headers=headers)
    assert (await deliver(app, ORDER, headers=headers)).body == b"done"


def guarded(*messages, errors=(), **options):
    """An app that sends its messages, then raises the next of its errors; and its runs."""
    runs, left = [], list(errors)

    async def app(scope, receive, send):
        runs.append(1)
        for message in messages:
            await send(message)
        if left:
            raise left.pop(0)

    options = {"store": "memory://", "scope": uuid.uuid4().hex, **options}
    return IdempotencyMiddleware(app, **options), runs


def start(status=201):
    return {"type": "http.response.start", "status": status, "headers": []}


def chunk(body, *, more=False):
    return {"type": "http.response.body", "body": body, "more_body": more}


WITH_KEY = {"idempotency-key": "k", **ADA}


async def test_a_run_that_fails_after_its_response():
    """A commit that fails after the response frees the key, and nothing of the response leaves."""
    app, runs = guarded(start(), chunk(b"done"), errors=[OSError("deadlock")])
    sent = []
    with pytest.raises(OSError, match="deadlock"):
        await deliver(app, ORDER, headers=WITH_KEY, on_send=sent.append)
    assert sent == []
    replies = [await deliver(app, ORDER, headers=WITH_KEY) for _ in range(2)]
    assert [(reply.status, replayed(reply)) for reply in replies] == [(201, False), (201, True)]
    assert len(runs) == 2


@pytest.mark.parametrize("error", [AlreadyDone("k"), Discard("not for us")], ids=["done", "no"])
@pytest.mark.parametrize(
    "messages", [(), (start(), chunk(b"done"))], ids=["unanswered", "answered"]
)
async def test_what_ends_an_event_is_no_response(messages, error):
    """An app that raises what would end an event as done frees the key, as with any exception."""
    app, runs = guarded(*messages, errors=[error, error])
    for _ in range(2):
        with pytest.raises(type(error)):
            await deliver(app, ORDER, headers=WITH_KEY)
    assert len(runs) == 2


@pytest.mark.parametrize("error", [None, OSError("too late")])
async def test_answered_before_long_work_ends(monkeypatch, error):
    """Work put behind the response so that nobody need wait for it does not delay it."""
    monkeypatch.setattr(held_response, "PATIENCE", 0.05)
    left, over, runs = asyncio.Event(), asyncio.Event(), []

    async def app(scope, receive, send):
        runs.append(scope)
        await send(start())
        await send(chunk(b"done"))
        await over.wait()
        if error is not None:
            raise error

    def on_send(message):
        if message["type"] == "http.response.body":
            left.set()

    app = IdempotencyMiddleware(app, store="memory://", scope=uuid.uuid4().hex)
    call = asyncio.ensure_future(deliver(app, ORDER, headers=WITH_KEY, on_send=on_send))
    await asyncio.wait_for(left.wait(), 10)
    retry = await deliver(app, ORDER, headers=WITH_KEY)
    assert (retry.status, retry.body, replayed(retry)) == (201, b"done", True)
    over.set()
    assert (await asyncio.wait([call], timeout=10))[0] == {call}
    assert call.exception() is error
    assert len(runs) == 1


async def test_a_claim_lost_behind_an_early_answer(monkeypatch):
    """What the app raises after its response was answered goes on to the server, and only there."""
    monkeypatch.setattr(held_response, "PATIENCE", 0.05)
    left = asyncio.Event()

    async def app(scope, receive, send):
        await send(start())
        await send(chunk(b"done"))
        await left.wait()
        raise LeaseLost("of another piece of work")

    sent = []

    def on_send(message):
        sent.append(message)
        if message["type"] == "http.response.body":
            left.set()

    app = IdempotencyMiddleware(app, store="memory://", scope=uuid.uuid4().hex)
    with pytest.raises(LeaseLost):
        await deliver(app, ORDER, headers=WITH_KEY, on_send=on_send)
    assert sent == [start(), chunk(b"done")]


async def test_an_error_answered_early_keeps_its_key(monkeypatch):
    """The same request, made again after an error, is not handled beside the first."""
    monkeypatch.setattr(held_response, "PATIENCE", 0.05)
    left, over, runs = asyncio.Event(), asyncio.Event(), []

    async def app(scope, receive, send):
        runs.append(scope)
        await send(start(503))
        await send(chunk(b"later"))
        await over.wait()

    app = IdempotencyMiddleware(app, store="memory://", scope=uuid.uuid4().hex)
    first = deliver(app, ORDER, headers=WITH_KEY, on_send=lambda _: left.set())
    call = asyncio.ensure_future(first)
    await asyncio.wait_for(left.wait(), 10)
    assert (await deliver(app, ORDER, headers=WITH_KEY)).status == 409
    over.set()
    assert (await call).body == b"later"
    assert (await deliver(app, ORDER, headers=WITH_KEY)).body == b"later"
    assert len(runs) == 2


async def test_a_stream_that_fails_after_its_response():
    """What has begun to leave stays without its end, and is not kept."""
    messages = [start(), chunk(b"do", more=True), chunk(b"ne")]
    app, _ = guarded(*messages, errors=[OSError("deadlock")])
    sent = []
    with pytest.raises(OSError, match="deadlock"):
        await deliver(app, ORDER, headers=WITH_KEY, on_send=sent.append)
    assert sent == messages[:2]
    assert not replayed(await deliver(app, ORDER, headers=WITH_KEY))


async def test_a_failure_page_of_the_app():
    """A server error that the app answers and raises on reaches the client and frees the key."""
    app, runs = guarded(start(500), chunk(b"sorry"), errors=[OSError("boom"), OSError("boom")])
    for _ in range(2):
        sent = []
        with pytest.raises(OSError, match="boom"):
            await deliver(app, ORDER, headers=WITH_KEY, on_send=sent.append)
        assert sent == [start(500), chunk(b"sorry")]
    assert len(runs) == 2


async def test_a_key_lost_before_it_is_settled():
    """The response of a run whose key another one has by then is not given to the client."""
    store = CueStore()
    shop = Shop(store)
    shop.chunks = []
    task = await shop.begun()
    [entry] = store._entries.values()
    entry.token = "of another request"
    shop.gate.set()
    assert is_problem(await task, 503, "store_unavailable")


async def test_fastapi_commits_after_the_response():
    """The usual dependency that commits in its exit code is part of what is kept."""
    app, commits = FastAPI(), []
    errors = [OSError("deadlock")]

    async def session():
        yield
        if errors:
            raise errors.pop()
        commits.append(1)

    @app.post("/orders", status_code=201, dependencies=[Depends(session)])
    async def create():
        return {"order": 1}

    app.add_middleware(IdempotencyMiddleware, store="memory://", scope="commits")
    with TestClient(app, raise_server_exceptions=False) as client:
        replies = [client.post("/orders", headers=WITH_KEY) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [500, 201, 201]
    assert commits == [1]


async def test_middlewares_around_see_the_route():
    """Metrics go by the route, which routers write into the scope they were handed."""
    app, seen = FastAPI(), []
    app.post("/orders/{number}")(an_async_caller)
    guarded = IdempotencyMiddleware(app, store="memory://")

    async def measured(scope, receive, send):
        await guarded(scope, receive, send)
        seen.append(scope["route"].path)

    for headers in (ADA, {**ADA, "idempotency-key": '"k1"'}):
        await deliver(measured, ORDER, headers=headers, path="/orders/1")
    assert seen == ["/orders/{number}"] * 2


async def test_incomplete_responses_free_the_key():
    """An app that returns in the middle of its response has handled nothing."""
    runs = []

    async def app(scope, receive, send):
        runs.append(1)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    app = IdempotencyMiddleware(app, store="memory://", scope="incomplete")
    for _ in range(2):
        await deliver(app, ORDER, headers={"idempotency-key": "k", **ADA})
    assert len(runs) == 2


async def test_a_client_that_leaves_gets_its_response_later():
    """The response to a client that is gone is kept for its retry."""
    shop = Shop()

    def gone(message):
        raise OSError("the client left")

    headers = {"idempotency-key": '"k1"', "content-type": "application/json", **ADA}
    await deliver(shop.app, ORDER, headers=headers, path="/orders", on_send=gone)
    again = await shop.order()
    assert (replayed(again), again.json()) == (True, {"order": 1})


async def test_a_client_that_leaves_before_its_response():
    """A request whose client gives up is handled to its end, and its retry gets the response."""
    runs, left = [], asyncio.Event()
    left.set()

    async def app(scope, receive, send):
        runs.append(await receive())
        leaving = asyncio.ensure_future(receive())
        await send(start())
        await send(chunk(b"do", more=True))
        await asyncio.sleep(0.05)
        assert not leaving.done()
        await send(chunk(b"ne"))
        await leaving

    app = IdempotencyMiddleware(app, store="memory://", scope=uuid.uuid4().hex)
    await asyncio.wait_for(deliver(app, ORDER, headers=WITH_KEY, leaves=left), 10)
    again = await deliver(app, ORDER, headers=WITH_KEY)
    assert (again.body, replayed(again), len(runs)) == (b"done", True, 1)


async def test_a_client_that_leaves_a_large_response():
    """A response that cannot be kept anyway is not produced for nobody."""
    shop = Shop()
    shop.chunks = [b"x" * LARGEST, b"x", b"never sent"]

    def gone(message):
        raise OSError("the client left")

    def leave_late(message):
        if message.get("body") == b"x":
            gone(message)

    headers = {"idempotency-key": '"k1"', **ADA}
    with pytest.raises(OSError, match="the client left"):
        await deliver(shop.app, ORDER, headers=headers, path="/orders", on_send=leave_late)


async def test_cancellation_frees_the_key():
    """A request that its server cancels is not handled, and its retry is."""
    shop = Shop()
    task = await shop.begun()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    shop.gate.set()
    assert (await shop.order()).status == 201


async def test_client_that_leaves_with_half_a_body():
    """A body that never came whole is no request."""
    shop = Shop()

    async def receive():
        return {"type": "http.disconnect"}

    headers = [(b"idempotency-key", b"k"), (b"authorization", b"ada")]
    await shop.app(http_scope(headers=headers), receive, None)
    assert shop.runs == []


async def test_store_away():
    """While the store is away requests with a key are answered 503, and nothing is handled."""
    store = CueStore()
    store.away.add("claim")
    shop = Shop(store)
    reply = await shop.order()
    assert is_problem(reply, 503, "store_unavailable")
    assert reply.headers["retry-after"] == "5"
    assert shop.runs == []
    assert (await shop.order(None)).status == 201


async def test_store_that_cannot_be_started():
    """The same when it has never been there."""
    shop = Shop("redis://127.0.0.1:1/0")
    assert is_problem(await shop.order(), 503, "store_unavailable")
    assert shop.runs == []


async def test_lost_lease():
    """A handler whose claim is lost is cancelled, and the client asked to come again."""
    store = CueStore()
    shop = Shop(store, lease=0.3)
    task = await shop.begun()
    await store.forget(store.calls[0][1][0])
    assert is_problem(await task, 503, "store_unavailable")


async def test_long_requests_keep_their_key():
    """A request longer than the lease is still the only one."""
    store = CueStore()
    shop = Shop(store, lease=1.5)
    shop.gate.clear()
    task = asyncio.ensure_future(shop.order())
    await eventually(lambda: len(store.keys_of("renew")) >= 4)
    assert (await shop.order()).status == 409
    shop.gate.set()
    assert (await task).status == 201


async def test_bounded_wait():
    """A request that has waited its time is told to come again."""
    shop = Shop(wait=0.1)
    task = await shop.begun()
    assert is_problem(await shop.order(), 409, "in_progress")
    shop.gate.set()
    await task


async def test_records():
    """Each request leaves its records under the middleware's scope."""
    records = Records()
    dedup = Dedup(CueStore(), observers=[records])
    shop = Shop(dedup, scope="shop")
    for _ in range(2):
        await shop.order()
    shop.statuses = [500]
    await shop.order('"k2"')
    assert records.kinds == ["started", "succeeded", "skipped", "started", "failed"]
    assert {record.source for record in records.all} == {"shop"}
    assert [record.event_id for record in records.all[:3]] == ["k1"] * 3
    assert records.all[-1].status == 500
    await dedup.stop()


async def test_what_is_no_http_passes():
    """Lifespan and websockets reach the app untouched."""
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    app = IdempotencyMiddleware(app, store="memory://", required=True)
    for kind in ("lifespan", "websocket"):
        await app({"type": kind}, None, None)
    assert seen == ["lifespan", "websocket"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"max_body": 0}, "max_body"),
        ({"wait": -1}, "wait"),
        ({"ttl": 0}, "ttl"),
        ({"missing_status": 200}, "missing_status"),
        ({"mismatch_status": "422"}, "mismatch_status"),
        ({"replay_status": {201: 204}}, "body"),
        ({"paths": ["orders"]}, "begins with a slash"),
        ({"paths": ["/orders"], "required": ["/order"]}, "'/order' is not among paths"),
        ({"client_id": "a["}, "JMESPath"),
        (
            {"methods": "POST"},
            r"methods of IdempotencyMiddleware must be a list such as \['POST'\]",
        ),
        ({"methods": []}, "methods"),
        ({"methods": None}, "methods"),
        ({"methods": [1]}, "methods"),
        ({"caller": "header:X-User"}, "caller must be a plain function"),
        ({"caller": an_async_caller}, "caller must be a plain function"),
        ({"replay_status": [201]}, r"such as \{201: 200\}"),
        ({"replay_status": {201: "200"}}, "replay_status"),
    ],
)
def test_options_that_do_not_fit(options, why):
    """What cannot work is refused when the app is built."""
    with pytest.raises(ConfigError, match=why):
        IdempotencyMiddleware(Shop().app, store="memory://", **options)


def test_stores_that_keep_too_little():
    """A store without results is refused when the app is built."""
    with pytest.raises(MissingPower, match="bloom"):
        IdempotencyMiddleware(Shop().app, store=open_store("bloom://?capacity=1000"))


class Order(BaseModel):
    item: str


def test_in_fastapi(tmp_path):
    """Mounted in FastAPI it replays what the endpoint, its models and its errors answered."""
    app = FastAPI()
    made = []

    @app.post("/orders", status_code=201)
    async def create(order: Order, response: Response) -> Order:
        made.append(order)
        response.set_cookie("session", "secret")
        return order

    app.add_middleware(
        IdempotencyMiddleware,
        store=f"sqlite:///{tmp_path}/store.db",
        paths=["/orders"],
        required=True,
        replay_status={201: 200},
    )
    with TestClient(app) as client:
        headers = {"Idempotency-Key": '"k1"', **ADA}
        first = client.post("/orders", json={"item": "tea"}, headers=headers)
        client.cookies.clear()
        again = client.post("/orders", json={"item": "tea"}, headers=headers)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json() == again.json() == {"item": "tea"}
        assert "set-cookie" in first.headers
        assert "set-cookie" not in again.headers
        assert len(made) == 1
        invalid = [
            client.post("/orders", json={}, headers={**headers, "Idempotency-Key": "k2"})
            for _ in "ab"
        ]
        assert [reply.status_code for reply in invalid] == [422, 422]
        assert invalid[1].headers["idempotent-replayed"] == "true"
        assert client.post("/orders", json={"item": "tea"}).status_code == 400
