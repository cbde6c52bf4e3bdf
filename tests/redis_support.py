"""What the tests of all that is kept in Redis share."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from .binaries import redis_binaries
from .conftest import redis_choices
from .ports import HOST

__all__ = ["newest_binary", "newest_redis", "oldest_binary", "prefix", "still_loading"]

newest_redis = pytest.mark.parametrize(
    "redis_url", redis_choices()[-1:], indirect=True, ids=str, scope="session"
)
newest_binary = pytest.mark.parametrize(
    "redis_binary", redis_binaries()[-1:], indirect=True, ids=lambda b: b.series, scope="session"
)
oldest_binary = pytest.mark.parametrize(
    "redis_binary", redis_binaries()[:1], indirect=True, ids=lambda b: b.series, scope="session"
)


@pytest.fixture
def prefix() -> str:
    """A prefix of the test's own, so that it sees no keys but its own."""
    return f"test-{uuid.uuid4().hex}:"


@asynccontextmanager
async def still_loading() -> AsyncIterator[str]:
    """Serve what a Redis says until it has read its data, and give its URL.

    How long a real one says so depends on its data and on the machine.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(2**16):
            writer.write(b"-LOADING Redis is loading the dataset in memory\r\n")
        writer.close()

    async with await asyncio.start_server(answer, HOST, 0) as server:
        yield f"redis://{HOST}:{server.sockets[0].getsockname()[1]}/0"
