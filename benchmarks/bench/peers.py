"""Other libraries, doing the nearest thing they offer; ``PEERS`` tells what each does and does not.

Each is imported where it is used: some are slow to import, and one that is missing spoils only its
own question.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from tests.servers import RedisServer
from webhook_dedup.bench.load import Operation
from webhook_dedup.bench.operations import LEASE, TTL, new_keys

PEERS = {
    "idemkit redis": "its backend's claim and complete, fenced by a token, one script each; "
    "keeps a response and a fingerprint",
    "idemkit postgres": "the same in two statements",
    "Powertools redis": "its decorator around an empty function, in 64 threads, as it is "
    "synchronous; not fenced",
    "asgi-idempotency-header": "its middleware around a route, seven commands a request; a claim "
    "without expiry, no lease, no fencing",
    "DBOS workflow, postgres": "one workflow without steps for each event, named by its id; it "
    "also keeps inputs and outputs and can resume between steps",
    "redis-py SET NX": "one command by hand; no token, no lease, no result",
    "asyncpg pool": "one upsert by hand",
    "SQLAlchemy pool": "one upsert by hand in a transaction",
    "aiosqlite": "one upsert by hand on one connection, synchronous=FULL",
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
    def nothing(event: str) -> str:  # noqa: ARG001  # what it is known by
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
    async def handle(body: str) -> str:  # noqa: ARG001  # what it keeps
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
