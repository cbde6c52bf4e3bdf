"""Other libraries, doing the nearest thing they offer; ``PEERS`` tells what each does and does not.

Each is imported where it is used: some are slow to import, and one that is missing spoils only its
own question.
"""

# ruff: noqa: PLC0415 - see above

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.servers import RedisServer
from webhook_dedup.bench.load import Operation
from webhook_dedup.bench.operations import LEASE, TTL, new_keys


@dataclass(frozen=True)
class Peer:
    """What another does of the same work, and what it leaves out."""

    does: str
    lacks: str


PEERS = {
    "idemkit redis": Peer(
        "claim and complete, one script each; fenced by a token; keeps a response and a "
        "fingerprint",
        "no batches; a lease is not renewed over HTTP; no inbox",
    ),
    "idemkit postgres": Peer("the same, one statement each", "as on Redis"),
    "Powertools redis": Peer(
        "claim and complete around an empty function, in 64 threads, as it is synchronous; keeps "
        "a result",
        "not fenced; no batches; no inbox",
    ),
    "asgi-idempotency-header": Peer(
        "middleware around a route, seven commands a request; keeps the response",
        "its claim has no expiry: after a crash the key answers 409 for ever; no lease, no "
        "fencing, no inbox",
    ),
    "DBOS workflow, postgres": Peer(
        "one workflow without steps for each event, named by its id; records input and output, "
        "runs again after a crash, and can resume between steps",
        "no TTL and no lease: workflows are kept until they are deleted; no batches",
    ),
    "redis-py SET NX": Peer(
        "one command for a claim, by hand",
        "no token: a retry after a lost reply is told that the key exists; no result, no fencing",
    ),
    "redis-py SET NX, SET": Peer("one command each for claim and completion, by hand", "as above"),
    "asyncpg pool": Peer(
        "one upsert that admits expired rows, by hand, on 16 connections",
        "no token, no result, no fencing",
    ),
    "SQLAlchemy pool": Peer(
        "the same in a transaction of SQLAlchemy, on 16 connections", "as above"
    ),
    "aiosqlite": Peer("the same on one connection, synchronous=FULL", "as above"),
    "by hand, redis-py": Peer(
        "a route that claims with one command, handles, completes with another and answers",
        "no check, no token, no lease that is renewed, no inbox: an event whose handler fails or "
        "whose process dies is gone",
    ),
    "by hand, the least": Peer(
        "the same in batches, the route in a task behind the answer: what is left when nothing is "
        "checked or kept",
        "as above",
    ),
    "bare ASGI, bare Starlette": Peer("answers", "nothing else"),
}


@asynccontextmanager
async def idemkit_redis(url: str) -> AsyncIterator[Operation]:
    from idemkit import RedisBackend

    async with RedisBackend.from_url(url, max_connections=1024) as backend:
        yield _idemkit(backend)


@asynccontextmanager
async def idemkit_postgres(url: str) -> AsyncIterator[Operation]:
    from idemkit import PostgresBackend
    from idemkit.backends.postgres import init_pg

    await init_pg(url)
    async with PostgresBackend.from_url(url) as backend:
        yield _idemkit(backend)


def _idemkit(backend) -> Operation:
    keys = new_keys("idemkit:bench")

    async def claim_and_complete() -> None:
        key = next(keys)
        claim = await backend.claim(key, "fingerprint", 1, LEASE)
        assert await backend.complete(key, claim.our_claim_token, 200, {}, b"", TTL)

    return claim_and_complete


@asynccontextmanager
async def powertools_redis(server: RedisServer) -> AsyncIterator[Operation]:
    from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig, idempotent_function
    from aws_lambda_powertools.utilities.idempotency.persistence.redis import (
        RedisCachePersistenceLayer,
    )

    warnings.filterwarnings("ignore", module="aws_lambda_powertools")
    store = RedisCachePersistenceLayer(host="127.0.0.1", port=server.port, ssl=False)
    config = IdempotencyConfig(expires_after_seconds=int(TTL))

    @idempotent_function(data_keyword_argument="event", persistence_store=store, config=config)
    def nothing(event: str) -> str:  # noqa: ARG001 - what it is known by
        return "done"

    keys = new_keys("powertools:bench")
    with ThreadPoolExecutor(64) as threads:
        loop = asyncio.get_running_loop()

        async def claim_and_complete() -> None:
            key = next(keys)
            await loop.run_in_executor(threads, lambda: nothing(event=key))

        yield claim_and_complete


@asynccontextmanager
async def dbos_workflows(url: str) -> AsyncIterator[Operation]:
    from dbos import DBOS, SetWorkflowID

    logging.getLogger("dbos").setLevel(logging.ERROR)
    address = url.replace("postgresql://", "postgresql+psycopg://")
    DBOS(config={"name": "bench", "system_database_url": address, "log_level": "ERROR"})

    @DBOS.workflow()
    async def handle(body: str) -> str:  # noqa: ARG001 - what it keeps
        return "done"

    DBOS.launch()
    keys = new_keys("dbos:bench")

    async def live() -> None:
        with SetWorkflowID(next(keys)):
            await handle("x" * 1000)

    try:
        yield live
    finally:
        await asyncio.to_thread(DBOS.destroy)
