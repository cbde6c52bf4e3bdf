"""What a source refuses to be built from, and how it finds the ids of its deliveries."""

from __future__ import annotations

from datetime import timedelta

import pytest

from webhook_dedup import ConfigError, Dedup, Policy, Source, WebhookDedup
from webhook_dedup.errors import MissingPower
from webhook_dedup.guards import OneAtATime
from webhook_dedup.observe.history import History
from webhook_dedup.observe.record import Kind
from webhook_dedup.providers import HmacSignature, sign
from webhook_dedup.routes import Routes
from webhook_dedup.stores import MemoryStore, open_store

from .kit import BODY, SECRET, Handler, deliver, mounted, policy, signed, source

REFUSED = {
    "unknown preset": (
        lambda: Source("strype", path="/a"),
        r"no provider 'strype'; did you mean 'stripe'",
    ),
    "preset that is no name": (lambda: Source(None, path="/a"), r"no provider None; known are"),
    "signing preset without secret": (
        lambda: Source("stripe", path="/a"),
        r"'stripe' needs secret=…  ?\(.*whsec_.*verify=False",
    ),
    "secret of an unset variable": (
        lambda: Source("github", path="/a", secret=None),
        r"'github' needs secret=",
    ),
    "secret and verify=False": (
        lambda: Source("github", path="/a", secret="x", verify=False),
        r"'github' has a secret and verify=False; drop one",
    ),
    "blank secret": (
        lambda: Source("github", path="/a", secret=" "),
        r"'github': the secret is blank; give the signing secret",
    ),
    "empty list of secrets": (
        lambda: Source("github", path="/a", secret=[]),
        r"'github': secret=\[\] holds no secret",
    ),
    "iterator without secrets": (
        lambda: Source("github", path="/a", secret=filter(None, [""])),
        r"'github': secret=<filter .*> holds no secret",
    ),
    "secrets by tenant": (
        lambda: Source("github", path="/{tenant}", secret={"acme": "x", "bob": "y"}),
        r"'github': .* got dict; tenants with secrets of their own get a Source each",
    ),
    "function for a secret": (
        lambda: Source("github", path="/a", secret=lambda delivery: "x"),
        r"'github': a secret is text or bytes, .* got function",
    ),
    "secret of a wrong type": (
        lambda: Source("github", path="/a", secret=[7]),
        r"a secret is text or bytes, got int",
    ),
    "signature without secret": (
        lambda: source(secret=None, signature=HmacSignature(header="X-Mine")),
        r"'shop' needs secret=",
    ),
    "relative path": (
        lambda: source(path="hooks"),
        r"path of source 'shop' must begin with '/', such as '/webhooks/shop'; got 'hooks'",
    ),
    "URL for a path": (lambda: source(path="https://example.com/a"), r"must begin with '/'"),
    "path that is no text": (lambda: source(path=None), r"must begin with '/'.* got None"),
    "path with a query": (lambda: source(path="/a?b=c"), r"end before '\?' and '#'; got '/a\?b=c'"),
    "path with a brace": (lambda: source(path="/a/{"), r"placeholders such as '{tenant}'.*'/a/{'"),
    "path with a type": (lambda: source(path="/a/{b:int}"), r"placeholders .*got '/a/{b:int}'"),
    "placeholder twice": (lambda: source(path="/{a}/{a}"), r"each once; got '/{a}/{a}'"),
    "empty name": (lambda: source(name=""), r"name '' must be 1 to 64 letters"),
    "name with a space": (lambda: source(name="a b"), r"name 'a b' must be 1 to 64 letters"),
    "name that is no text": (lambda: source(name=7), r"name 7 must be"),
    "long name": (lambda: source(name="a" * 65), r"must be 1 to 64 letters"),
    "unknown ack": (
        lambda: source(ack="later"),
        r"ack must be one of 'first', 'claimed', 'handled', got 'later'",
    ),
    "empty ack": (lambda: source(ack=""), r"ack must be one of .* got ''"),
    "no event_id": (
        lambda: source(event_id=None),
        r"'shop' needs event_id=…: 'header:X-Event-Id', 'form:field', a JMESPath",
    ),
    "broken JMESPath": (lambda: source(event_id="a["), r"'a\[' is not a valid JMESPath"),
    "empty JMESPath": (lambda: source(event_id=""), r"'' is not a valid JMESPath"),
    "nameless header": (lambda: source(event_id="header:"), r"write for example header:X-Event-Id"),
    "nameless field": (lambda: source(event_id="form:"), r"write for example form:event_id"),
    "async function": (lambda: source(event_id=_async_id), r"must be a plain def, not async"),
    "expression of a wrong type": (lambda: source(event_id=7), r"text or a function, got int"),
    "broken event_type": (lambda: source(event_type="a["), r"'a\[' is not a valid JMESPath"),
    "methods as text": (
        lambda: source(methods="POST"),
        r"methods of source 'shop' must be a list such as \['POST'\], got 'POST'",
    ),
    "no methods": (lambda: source(methods=[]), r"must be a list such as \['POST'\], got \[\]"),
    "ttl of zero": (lambda: Policy(ttl=0), r"ttl must be greater than 0 .*got 0; write .*ttl="),
    "negative ttl": (lambda: Policy(ttl=timedelta(days=-1)), r"ttl must be greater than 0"),
    "ttl as text": (lambda: Policy(ttl="1h"), r"ttl must be seconds or a timedelta, got '1h'"),
    "endless ttl": (lambda: Policy(ttl=float("inf")), r"ttl must be greater than 0.*finite"),
    "lease of zero": (lambda: Policy(lease=0), r"lease must be greater than 0"),
    "unknown policy": (
        lambda: Policy(on_missing_id="hash"),
        r"on_missing_id must be one of 'reject', 'process', 'hash_body', got 'hash'",
    ),
    "max_body of zero": (lambda: Policy(max_body=0), r"max_body must be a whole number.*got 0"),
    "no store": (
        lambda: WebhookDedup(Handler(), sources=[]),
        r"either store=… and sources=…, or dedup=…",
    ),
    "sources beside a dedup": (
        lambda: WebhookDedup(Handler(), dedup=Dedup("memory://"), sources=[source()]),
        r"dedup=… has its own sources.*Dedup\(…\)",
    ),
    "policy beside a dedup": (
        lambda: WebhookDedup(Handler(), dedup=Dedup("memory://"), policy=Policy()),
        r"dedup=… has its own sources.*Dedup\(…\)",
    ),
    "store of a wrong scheme": (
        lambda: open_store("mysql://localhost"),
        r"no store is named mysql://; write .*sqlite:///",
    ),
    "store that is no URL": (lambda: open_store("redis"), r"URL such as .*redis://.*got 'redis'"),
    "object without the verbs": (
        lambda: WebhookDedup(Handler(), store=object()),
        r"a store is a URL or an object with the verbs claim",
    ),
    "a mismatch that comes too late": (
        lambda: Routes([source(ack="first")], Policy(on_mismatch="reject")),
        r"on_mismatch='reject' cannot work for source 'shop' with ack='first'.*ack='claimed'",
    ),
    "store that is nothing": (lambda: open_store(None), r"a store is named by a URL.*got None"),
    "source that is a name": (
        lambda: Routes(["stripe"], Policy()),
        r"sources must be a list such as \[Source\('stripe'.*got \['stripe'\]",
    ),
    "source that is no list": (
        lambda: Routes(source(), Policy()),
        r"sources must be a list.*got Source\('generic'",
    ),
    "secret with a line feed": (
        lambda: source(secret="a secret\n"),
        r"source 'shop': the secret begins or ends with white space.*strip\(\) it",
    ),
    "lock without a subject": (
        lambda: source(guards=[OneAtATime()]),
        r"OneAtATime\(\) would never act: events of source 'shop' have no subject; write subject=",
    ),
    "guard that is no list": (
        lambda: source(guards=OneAtATime("thread")),
        r"guards must be a list of guards, got <",
    ),
    "a refusal that comes too late": (
        lambda: Routes([source(policy=Policy(on_store_error="reject"))], Policy()),
        r"on_store_error='reject' cannot work for source 'shop'.*ack='claimed'",
    ),
}


async def _async_id(parsed):
    return parsed


@pytest.mark.parametrize(("build", "message"), REFUSED.values(), ids=list(REFUSED))
def test_refused_when_built(build, message):
    """What cannot work is refused at once, with the value and what to write instead."""
    with pytest.raises(ConfigError, match=message):
        build()


def test_mismatch_needs_fingerprints():
    """Refusing changed bodies on a store that forgets them is refused at start-up."""
    store = MemoryStore()
    store.remembers = type(store.remembers)(0)
    with pytest.raises(MissingPower, match=r"on_mismatch='reject' needs .*fingerprint; memory"):
        WebhookDedup(
            Handler(),
            store=store,
            sources=[source(ack="claimed")],
            policy=Policy(on_mismatch="reject"),
        )


def test_unsigned_on_purpose():
    """A preset that signs takes unsigned deliveries when it is told to."""
    assert not Source("github", path="/a", verify=False).signed
    assert Source("github", path="/a", secret=["new", "old"]).signed


FORM = {"content-type": "application/x-www-form-urlencoded"}
MULTIPART = {"content-type": "multipart/form-data; boundary=b"}
PARTS = b'--b\r\nContent-Disposition: form-data; name="event"\r\n\r\nevt_1\r\n--b--\r\n'

FOUND = {
    "header": ("header:X-Event-Id", b"", {"x-event-id": "evt_1"}),
    "header of other case": ("header:x-EVENT-id", b"", {"X-Event-ID": "evt_1"}),
    "JMESPath": ("data[0].id", b'{"data": [{"id": "evt_1"}]}', {}),
    "dotted names": ("data.id", b'{"data": {"id": "evt_1"}}', {}),
    "JMESPath, joined": ("join('-', [a, b])", b'{"a": "evt", "b": "1"}', {}),
    "JSON called text": ("id", BODY, {"content-type": "text/plain"}),
    "urlencoded field": ("form:event", b"a=1&event=evt_1", FORM),
    "multipart field": ("form:event", PARTS, MULTIPART),
    "function": (lambda parsed: parsed.body[:5].decode(), b"evt_1 and more", {}),
}


@pytest.mark.parametrize(("expression", "body", "headers"), FOUND.values(), ids=list(FOUND))
async def test_ids_found(expression, body, headers):
    """An id is found where the source says, and a second delivery with it is a duplicate."""
    handler = Handler()
    sent = {**headers, **signed(body)}
    async with mounted(handler, sources=[source(event_id=expression)]) as (app, records):
        for _ in range(2):
            assert (await deliver(app, body, headers=sent)).status == 200
    assert handler.runs == [body]
    [skipped] = records.of(Kind.SKIPPED)
    assert skipped.event_id in {"evt_1", "evt-1"}


async def test_integer_and_text_ids_meet():
    """The integer 7 and the text "7" are one id."""
    handler = Handler()
    async with mounted(handler) as (app, _):
        await deliver(app, b'{"id": 7}')
        await deliver(app, b'{"id": "7"}')
    assert handler.runs == [b'{"id": 7}']


async def test_rotated_secret():
    """While a secret is rotated, deliveries signed with either are accepted."""
    handler = Handler()
    async with mounted(handler, sources=[source(secret=[SECRET, "older"])]) as (app, _):
        for number, secret in enumerate((SECRET, "older", "foreign")):
            body = b'{"id": %d}' % number
            await deliver(app, body, headers=sign("generic", secret=secret, body=body))
    assert handler.runs == [b'{"id": 0}', b'{"id": 1}']


@pytest.mark.parametrize("body", [b"{}", b'{"id": null}', b'{"id": ""}', b'{"id": " \\t"}'])
async def test_missing_id_rejected(body):
    """A delivery without an id is answered 400 and not run."""
    handler = Handler()
    async with mounted(handler) as (app, records):
        reply = await deliver(app, body)
    assert reply.status == 400
    assert reply.json()["error"] == "missing_event_id"
    assert handler.runs == []
    assert records.kinds == ["rejected"]


def _own_id(request):
    return request.header("X-Own")


@pytest.mark.parametrize(
    ("event_id", "where"),
    [
        ("header:X-Event-Id", "at header:X-Event-Id,"),
        (("data.kind", "data.id"), "at data.kind + data.id,"),
        (_own_id, "by _own_id,"),
    ],
)
async def test_missing_id_names_its_place(event_id, where):
    """Who reads the answer or the log learns where the id was looked for."""
    async with mounted(Handler(), sources=[source(event_id=event_id)]) as (app, records):
        reply = await deliver(app, b"{}")
    assert reply.status == 400
    for said in (reply.json()["detail"], records.all[0].detail):
        assert where in said
        assert "'shop'" in said


async def test_missing_id_processed():
    """With on_missing_id='process' every delivery without an id runs, and claims nothing."""
    handler, store = Handler(), MemoryStore()
    chosen = policy(on_missing_id="process")
    async with mounted(handler, store=store, policy=chosen) as (app, _):
        for _ in range(2):
            assert (await deliver(app, b"{}")).status == 200
        assert len(store) == 0
    assert handler.runs == [b"{}", b"{}"]


@pytest.mark.parametrize("ack", ["claimed", "handled"])
async def test_missing_id_processed_in_other_acks(ack):
    """A delivery without an id runs under every ack when the policy says so."""
    handler = Handler()
    async with mounted(handler, ack, policy=policy(on_missing_id="process")) as (app, _):
        for _ in range(2):
            assert (await deliver(app, b"{}")).status == 200
    assert handler.runs == [b"{}", b"{}"]


async def test_missing_id_hashed():
    """With on_missing_id='hash_body' equal bodies are one event and others are not."""
    handler = Handler()
    async with mounted(handler, policy=policy(on_missing_id="hash_body")) as (app, _):
        for body in (b'{"a": 1}', b'{"a": 2}', b'{"a": 1}'):
            await deliver(app, body)
    assert handler.runs == [b'{"a": 1}', b'{"a": 2}']


async def test_empty_body_not_hashed():
    """An empty body has no hash to tell events by: its triggers are not taken for copies."""
    handler = Handler()
    chosen = [source(event_id="header:X-Event-Id")]
    hashing = policy(on_missing_id="hash_body")
    async with mounted(handler, sources=chosen, policy=hashing) as (app, _):
        replies = [await deliver(app, b"") for _ in range(2)]
    assert [reply.status for reply in replies] == [400, 400]
    assert handler.runs == []


@pytest.mark.parametrize("ack", ["first", "claimed", "handled"])
async def test_changed_body_skipped(ack):
    """A known id with another body is a duplicate, recorded as changed."""
    handler = Handler()
    async with mounted(handler, ack) as (app, records):
        await deliver(app, b'{"id": 1, "attempt": 1}')
        reply = await deliver(app, b'{"id": 1, "attempt": 2}')
    assert reply.status == 200
    assert handler.runs == [b'{"id": 1, "attempt": 1}']
    [skipped] = records.of(Kind.SKIPPED)
    assert skipped.body_changed is True
    assert skipped.original == "done"


@pytest.mark.parametrize("ack", ["claimed", "handled"])
async def test_changed_body_rejected(ack):
    """With on_mismatch='reject' a known id with another body is told so; the same one is not."""
    handler, store = Handler(), MemoryStore()
    async with mounted(handler, ack, store=store, policy=policy(on_mismatch="reject")) as (
        app,
        records,
    ):
        await deliver(app, b'{"id": 1, "attempt": 1}')
        changed = await deliver(app, b'{"id": 1, "attempt": 2}')
        same = await deliver(app, b'{"id": 1, "attempt": 1}')
        assert len(app.dedup.inbox) == 0
    assert changed.status == 409
    assert changed.json()["error"] == "body_changed"
    assert same.status == 200
    assert len(handler.runs) == 1
    assert [record.reason for record in records.of(Kind.REJECTED)] == ["body_changed"]


async def test_event_after_window():
    """An old event is recorded for a person to look at, and run unless the store still knows it."""
    handler = Handler()
    body = b'{"id": "evt_1", "created": 1000000000, "type": "charge.paid"}'
    stripe = Source("stripe", path="/hooks", secret=SECRET)
    sent = sign("stripe", secret=SECRET, body=body)
    async with mounted(handler, sources=[stripe]) as (app, records):
        await deliver(app, body, headers=sent)
        await deliver(app, body, headers=sent)
    assert handler.runs == [body]
    assert records.kinds.count("skipped") == 1
    received, again = records.of(Kind.RECEIVED)
    assert received.reason == again.reason == "after_window"
    assert "it is run unless it is still known" in again.detail
    assert received.warning
    assert received.event_type == "charge.paid"


@pytest.mark.parametrize("make", [open_store, History, lambda url: Dedup(url, sources=[])])
@pytest.mark.parametrize("url", ["redis//u:hush@h/0", "bloom://?confirm=redis://:hush@h"])
def test_errors_hold_no_password(make, url):
    """What is no URL of a store is named without what may be a password in it."""
    with pytest.raises(ConfigError) as caught:
        make(url)
    assert "hush" not in str(caught.value)


def test_a_verify_token_is_not_shown():
    """A handshake in a log shows no token."""
    chosen = Source("meta", path="/meta", secret="s", verify_token="hush")
    assert "hush" not in repr(chosen.handshake)
