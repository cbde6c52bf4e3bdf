"""Senders that sign the URL they call: which URL is checked, behind proxies and mounts."""

from __future__ import annotations

import logging

import pytest

from webhook_dedup import ConfigError, Source
from webhook_dedup.asgi.scopes import delivery_of
from webhook_dedup.providers import sign
from webhook_dedup.routes import Routes
from webhook_dedup.urls import url_of

from .kit import BODY, Handler, deliver, http_scope, mounted, policy

SECRET = "a secret"


def square(**options):
    chosen = {"path": "/square", "event_id": "id", "secret": SECRET, **options}
    return Source("square", **chosen)


def url(base=None, headers=(), **scope):
    return url_of(delivery_of(http_scope(headers=list(headers), **scope), "s", b""), base)


HOST = [(b"Host", b"api.example.com:8443")]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({}, "http://api.example.com:8443/hooks"),
        ({"scheme": "https"}, "https://api.example.com:8443/hooks"),
        ({"query_string": b"a=%20&b"}, "http://api.example.com:8443/hooks?a=%20&b"),
        (
            {"path": "/a b/c", "raw_path": b"/a%20b%2Fc"},
            "http://api.example.com:8443/a%20b%2Fc",
        ),
        ({"path": "/a b", "raw_path": None}, "http://api.example.com:8443/a%20b"),
        (
            {"path": "/v1/hooks", "raw_path": b"/v1/hooks", "root_path": "/v1"},
            "http://api.example.com:8443/v1/hooks",
        ),
        ({"raw_path": b"/hooks", "root_path": "/v1"}, "http://api.example.com:8443/v1/hooks"),
        (
            {"path": "/v1:@a/hooks", "raw_path": b"/v1:%40a/hooks", "root_path": "/v1:@a"},
            "http://api.example.com:8443/v1:%40a/hooks",
        ),
        (
            {"path": "/a/b/hooks", "raw_path": b"/a%2fb/hooks", "root_path": "/a/b"},
            "http://api.example.com:8443/a%2fb/hooks",
        ),
        (
            {"raw_path": b"/hooks?x=1", "query_string": b"x=1"},
            "http://api.example.com:8443/hooks?x=1",
        ),
    ],
)
def test_url_is_put_together_from_the_request(scope, expected):
    """Scheme, Host header, root path, exact path and exact query make the URL."""
    assert url(None, HOST, **scope) == expected


def test_url_without_a_host_header():
    """A request that names no host is known by its server's address."""
    assert url(None) == "http://127.0.0.1:80/hooks"
    assert url(None, server=None) == "http://localhost/hooks"


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({}, "https://example.com/in/hooks"),
        ({"query_string": b"a=b"}, "https://example.com/in/hooks?a=b"),
        (
            {"path": "/v1/hooks", "raw_path": b"/v1/hooks", "root_path": "/v1"},
            "https://example.com/in/hooks",
        ),
        (
            {"path": "/v1:@a/hooks", "raw_path": b"/v1:%40a/hooks", "root_path": "/v1:@a"},
            "https://example.com/in/hooks",
        ),
    ],
)
def test_public_url_stands_before_the_path(scope, expected):
    """What is configured takes the place of everything before the source's path."""
    assert url("https://example.com/in", HOST, **scope) == expected


@pytest.mark.parametrize("given", ["https://example.com", "https://example.com/"])
async def test_delivery_behind_a_proxy_verifies_by_its_public_url(given):
    """The sender signed the public URL; the app sees another host, and believes the first."""
    headers = sign("square", secret=SECRET, body=BODY, url="https://example.com/square?x=1")
    seen = {**headers, "host": "10.0.0.7:8000"}
    call = {"path": "/square", "query_string": b"x=1", "headers": seen}
    for options, status in (({"public_url": given}, 200), ({}, 401)):
        async with mounted(Handler(), sources=[square(**options)]) as (app, _):
            assert (await deliver(app, **call)).status == status


async def test_guessed_url_warns_once_at_start(caplog):
    """A source whose sender signs the URL says at start-up that it has to guess it."""
    sources = [square(), square(name="known", path="/b", public_url="https://example.com")]
    sources.append(Source("generic", path="/c", secret="s", event_id="id"))
    with caplog.at_level(logging.WARNING, "webhook_dedup"):
        async with mounted(Handler(), sources=sources):
            pass
    [line] = [text for text in caplog.messages if "public_url" in text]
    assert "the senders of square sign" in line
    assert "known" not in line


@pytest.mark.parametrize(
    "wrong", ["example.com", "ftp://example.com", "/in", "https://", "https://[a", 7]
)
def test_public_url_that_is_none_is_refused(wrong):
    """A base URL has a scheme and a host."""
    with pytest.raises(ConfigError, match="public_url of source 'square' must be a URL"):
        square(public_url=wrong)


def test_public_url_ends_before_its_query():
    """A query comes with each delivery, not with the base."""
    with pytest.raises(ConfigError, match="must end before"):
        square(public_url="https://example.com/?a=b")


def test_extractors_see_url_and_query():
    """A function that finds the event id gets the query and the URL of the delivery."""
    seen = []
    chosen = square(event_id=lambda parsed: seen.append((parsed.url, parsed.query)) or "x")
    route = Routes([chosen], policy()).by_name["square"]
    scope = http_scope("/square", headers=HOST, query_string=b"id=7")
    route.read(delivery_of(scope, "square", BODY))
    assert seen == [("http://api.example.com:8443/square?id=7", b"id=7")]
