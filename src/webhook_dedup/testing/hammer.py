"""One delivery many times at once, at an app in this process or behind a URL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import ConfigError
from .answers import Answer, Answers, Deliverable
from .in_process import ASGIApp, call, living

if TYPE_CHECKING:
    import httpx

__all__ = ["hammer"]

_TIMEOUT = 30.0


async def hammer(
    app: ASGIApp | str,
    delivery: Deliverable,
    times: int = 5,
    connections: int = 5,
    *,
    lifespan: bool = True,
) -> Answers:
    """Send copies of one delivery at once, as providers do after a slow answer, only harder.

    Args:
        app: An ASGI app, or the base URL of a server, such as ``"http://127.0.0.1:8000"``. A URL
            with a path takes the place of the delivery's.
        delivery: What is sent; see :func:`webhook_dedup.providers.samples.sample_delivery`.
        times: How many copies.
        connections: How many are under way at the same time.
        lifespan: Run the lifespan of an app around the copies, so that everything has ended when
            this returns. ``False`` if the caller runs it.

    Raises:
        ConfigError: A number is below 1, or httpx is needed and not installed.
    """
    if times < 1 or connections < 1:
        raise ConfigError("hammer needs times and connections of 1 or more")
    if isinstance(app, str):
        return await _over_http(app, delivery, times, min(connections, times))
    if not lifespan:
        return await _at_once(lambda: call(app, delivery, {}), times, connections)
    async with living(app) as state:
        return await _at_once(lambda: call(app, delivery, state), times, connections)


async def _at_once(
    deliver: Callable[[], Awaitable[Answer]], times: int, connections: int
) -> Answers:
    turns = asyncio.Semaphore(connections)

    async def one() -> Answer:
        async with turns:
            return await deliver()

    return Answers(await asyncio.gather(*(one() for _ in range(times))))


async def _over_http(base: str, delivery: Deliverable, times: int, connections: int) -> Answers:
    try:
        import httpx  # noqa: PLC0415 - only needed here
    except ImportError as exc:
        raise ConfigError("hammer needs httpx for a URL; run: pip install httpx") from exc
    limits = httpx.Limits(max_connections=connections)
    # Not by the environment's proxies: what is tested is the server itself.
    async with httpx.AsyncClient(timeout=_TIMEOUT, limits=limits, trust_env=False) as client:
        return await _at_once(
            lambda: _post(client, _target(base, delivery), delivery), times, connections
        )


async def _post(client: httpx.AsyncClient, url: str, delivery: Deliverable) -> Answer:
    began = perf_counter()
    response = await client.request(
        delivery.method, url, content=delivery.body, headers=dict(delivery.headers)
    )
    took = perf_counter() - began
    return Answer(response.status_code, dict(response.headers), response.content, took)


def _target(base: str, delivery: Deliverable) -> str:
    sent, place = urlsplit(delivery.url), urlsplit(base)
    path = sent.path if place.path in {"", "/"} else place.path
    return place._replace(path=path, query=place.query or sent.query).geturl()
