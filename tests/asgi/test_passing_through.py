"""What is no delivery reaches the app as it came; what is one finds its source and its tenant."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.responses import Response
from starlette.routing import Mount
from starlette.routing import Route as StarletteRoute

from webhook_dedup import ConfigError, WebhookDedup, event_of
from webhook_dedup.policy import Policy
from webhook_dedup.routes import Routes
from webhook_dedup.stores import MemoryStore

from .kit import BODY, Handler, deliver, http_scope, mounted, signed, source


class Witness:
    """An app that remembers the very objects it was called with."""

    def __init__(self) -> None:
        self.called_with: tuple = ()

    async def __call__(self, *call) -> None:
        self.called_with = call


async def nothing(*_) -> dict:
    return {}


@pytest.mark.parametrize(
    "scope",
    [
        http_scope("/"),
        http_scope("/hooks/"),
        http_scope("/HOOKS"),
        http_scope("/hooks/extra"),
        http_scope("/hooks", "GET"),
        http_scope("/hooks", "OPTIONS"),
        http_scope("/other/hooks", root_path="/app"),
        {"type": "websocket", "path": "/hooks", "headers": []},
        {"type": "some.extension"},
    ],
    ids=lambda scope: f"{scope['type']} {scope.get('method')} {scope.get('path')}",
)
async def test_other_requests_untouched(scope):
    """A request that no source matches reaches the app with the same scope, receive and send."""
    app = Witness()
    middleware = WebhookDedup(app, store=MemoryStore(), sources=[source()])
    await middleware(scope, nothing, nothing)
    assert app.called_with[0] is scope
    assert app.called_with[1] is nothing
    assert app.called_with[2] is nothing


class Endpoint(HTTPEndpoint):
    async def post(self, request):
        raise AssertionError("an unsigned delivery reached the handler")


@pytest.mark.parametrize(
    ("configured", "path", "method"),
    [
        ("/hooks", "/hooks\n", "POST"),
        ("/hooks/{tenant}/in", "/hooks/acme/in\n", "POST"),
        ("/hooks", "/hooks", "post"),
    ],
)
async def test_unsigned_stays_out_however_it_is_spelled(configured, path, method):
    """What routers and endpoints take for a source's path and method is verified like it."""
    app = Starlette(routes=[StarletteRoute(configured, Endpoint)])
    app.add_middleware(WebhookDedup, store=MemoryStore(), sources=[source(path=configured)])
    assert (await deliver(app, headers={}, path=path, method=method)).status == 401


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_unsigned_head_stays_out_of_a_handler_of_get(method):
    """A source whose deliveries come by GET guards HEAD: routers give both to one handler."""
    ran = []

    async def hook(request):
        ran.append(request.method)
        return Response("handled")

    app = Starlette(routes=[StarletteRoute("/hooks", hook, methods=["GET"])])
    sources = [source(methods=["GET"], event_id="header:X-Id")]
    app.add_middleware(WebhookDedup, store=MemoryStore(), sources=sources)
    assert (await deliver(app, b"", headers={}, method=method)).status == 401
    assert ran == []
    headers = {**signed(b""), "x-id": "1"}
    assert (await deliver(app, b"", headers=headers, method=method)).status == 200
    assert ran == [method]


@pytest.mark.parametrize("ack", ["first", "claimed", "handled"])
@pytest.mark.parametrize("below", ["", "/api"])
async def test_the_same_source_twice(ack, below):
    """A run on its way to the app is no delivery to a second middleware with the same source."""
    handler, store = Handler(), MemoryStore()
    inner = WebhookDedup(handler, store=store, sources=[source(ack=ack)])
    routes = [Mount(below, app=inner)]
    sources = [source(ack=ack, path=f"{below}/hooks")]
    async with mounted(Starlette(routes=routes), store=store, sources=sources) as (app, _):
        for _ in range(2):
            assert (await deliver(app, path=f"{below}/hooks")).status == 200
    assert len(handler.runs) == 1


async def test_no_start_for_others():
    """A request that no source matches does not start anything."""
    middleware = WebhookDedup(Witness(), store=MemoryStore(), sources=[source()])
    await middleware(http_scope("/"), nothing, nothing)
    assert not middleware.dedup.running


@pytest.mark.parametrize(
    ("path", "root_path"),
    [("/api/hooks", "/api"), ("/hooks", ""), ("/hooks", "/api"), ("/hooks/hooks", "/hooks")],
)
def test_below_root_path(path, root_path):
    """A source's path is matched below root_path, whether or not the server strips it."""
    routes = Routes([source()], Policy())
    found = routes.find(http_scope(path, root_path=root_path))
    assert found is not None
    assert found.source.name == "shop"


@pytest.mark.parametrize(
    ("path", "root_path"), [("/apihooks", "/api"), ("/api", "/api"), ("/hooks", "/hooks")]
)
def test_not_below_root_path(path, root_path):
    """A root_path is a whole number of path segments."""
    assert Routes([source()], Policy()).find(http_scope(path, root_path=root_path)) is None


def test_beside_root_path():
    """A path that only begins with the letters of root_path is taken whole."""
    routes = Routes([source(path="/apihooks")], Policy())
    assert routes.find(http_scope("/apihooks", root_path="/api")) is not None


@pytest.mark.parametrize(
    ("path", "matches"),
    [
        ("/hooks/acme", True),
        ("/hooks/acme corp", True),
        ("/hooks/a%2Fb", True),
        ("/hooks/ümlaut", True),
        ("/hooks/line\nbreak", True),
        ("/hooks/", False),
        ("/hooks/a/b", False),
    ],
)
def test_one_segment_a_placeholder(path, matches):
    """A placeholder stands for exactly one segment of the decoded path."""
    routes = Routes([source(path="/hooks/{tenant}")], Policy())
    assert (routes.find(http_scope(path)) is not None) is matches


def test_special_characters_are_literal():
    """A path is text, not a regular expression."""
    routes = Routes([source(path="/h.oks/{tenant}/v1+")], Policy())
    assert routes.find(http_scope("/h.oks/acme/v1+")) is not None
    assert routes.find(http_scope("/hooks/acme/v1+")) is None


def test_exact_path_before_placeholder():
    """A path without placeholders wins over one with them, whichever was given first."""
    routes = Routes([source(path="/hooks/{tenant}"), source(name="b", path="/hooks/b")], Policy())
    assert routes.find(http_scope("/hooks/b")).source.name == "b"
    assert routes.find(http_scope("/hooks/c")).source.name == "shop"


def test_methods_apart():
    """Two sources may share a path if no method is common to both."""
    routes = Routes([source(), source(name="put", methods=["put"])], Policy())
    assert routes.find(http_scope(method="PUT")).source.name == "put"
    assert routes.find(http_scope(method="POST")).source.name == "shop"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"path": "/a"}, {"path": "/a"}),
        ({"path": "/a", "methods": ["POST", "PUT"]}, {"path": "/a", "methods": ["PUT"]}),
        ({"path": "/a/{tenant}"}, {"path": "/a/{tenant}"}),
        ({"path": "/a/{tenant}"}, {"path": "/a/{shop}"}),
    ],
)
def test_shared_path_refused(one, other):
    """Two sources on one path and method are refused, and both are named."""
    with pytest.raises(ConfigError, match=r"'one' and 'other' share .* a path of its own"):
        Routes([source(name="one", **one), source(name="other", **other)], Policy())


def test_shared_name_refused():
    """Two sources of one name would share their keys and are refused."""
    with pytest.raises(ConfigError, match=r"two sources are named 'shop'; .*name="):
        Routes([source(path="/a"), source(path="/b")], Policy())


async def test_tenants_apart():
    """The same event id under two tenants is two events; under one tenant it is one."""
    handler = Handler()
    async with mounted(handler, sources=[source(path="/hooks/{tenant}")]) as (app, records):
        for tenant in ("a", "b", "a"):
            assert (await deliver(app, path=f"/hooks/{tenant}")).status == 200
    assert [event_of(_Request(scope)).key.tenant for scope in handler.scopes] == ["a", "b"]
    assert [record.tenant for record in records.all if record.kind.value == "skipped"] == ["a"]


class _Request:
    def __init__(self, scope) -> None:
        self.scope = scope


async def test_sources_apart():
    """The same event id from two sources is two events."""
    handler = Handler()
    sources = [source(), source(name="other", path="/other")]
    async with mounted(handler, sources=sources) as (app, _):
        await deliver(app)
        await deliver(app, path="/other")
    assert handler.runs == [BODY, BODY]


async def test_event_of_a_foreign_request():
    """A handler called outside any source is told that there is no event."""
    with pytest.raises(LookupError, match="no source matches"):
        event_of(_Request(http_scope()))


async def test_headers_may_be_any_iterable():
    """Headers given as tuples of any bytes-like kind reach the handler as bytes."""
    handler = Handler()
    async with mounted(handler) as (app, _):
        pairs = tuple((bytearray(k.lower().encode()), v.encode()) for k, v in signed().items())
        assert (await deliver(app, headers=pairs)).status == 200
    assert all(type(name) is bytes for name, _ in handler.scopes[0]["headers"])
