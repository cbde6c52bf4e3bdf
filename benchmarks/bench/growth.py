"""Does a claim cost more when many keys are stored?"""

from __future__ import annotations

import asyncpg

from webhook_dedup.bench.operations import claiming, opened

from .lab import Contestant, Lab, Row, compare, opening
from .ours import OURS, through

# Values as the store writes them, made by the server: ten million take too long otherwise.
FILL_REDIS = """
local value = 'done ' .. string.rep('t', 32) .. ' 1700000000000 - 9999999999999'
for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  redis.call('SET', KEYS[1] .. string.format('%032x', i), value, 'PX', 864000000)
end
"""
FILL_POSTGRES = """
INSERT INTO {table} (digest, key, token, done, first_seen, expires_at)
SELECT decode(md5(n::text), 'hex'), 'webhook:fill:' || lpad(n::text, 32, '0'), md5(n::text),
       true, 1700000000, 9999999999 + n
FROM generate_series($1::bigint, $2::bigint) AS n
"""
PORTION = 200_000


async def ask(lab: Lab) -> list[Row]:
    rows: list[Row] = []
    stored = 0
    with lab.redis.client() as client:
        client.flushall()
    for number in lab.scale.growth:
        lab.tell(f"growth: filling up to {number:,} keys")
        await _fill(lab, stored, number)
        stored = number
        contestants = [
            Contestant(f"{OURS} redis", opening(through, lab.redis.url, claiming), lab.redis),
            Contestant(
                f"{OURS} postgres", opening(through, lab.postgres.url, claiming), lab.postgres
            ),
        ]
        rows += await compare(lab, "growth", contestants, 64, keys=number)
    await _empty(lab)
    return rows


async def _fill(lab: Lab, stored: int, number: int) -> None:
    async with opened(lab.postgres.url) as store:
        table = store.namespace
    connection = await asyncpg.connect(lab.postgres.url)
    with lab.redis.client() as client:
        for start in range(stored + 1, number + 1, PORTION):
            end = min(start + PORTION - 1, number)
            for first in range(start, end + 1, PORTION // 10):
                last = min(first + PORTION // 10 - 1, end)
                client.eval(FILL_REDIS, 1, "webhook_dedup:k:webhook:fill:", first, last)
            await connection.execute(FILL_POSTGRES.format(table=table), start, end)
    await connection.execute(f"VACUUM ANALYZE {table}")
    await connection.execute("CHECKPOINT")
    await connection.close()


async def _empty(lab: Lab) -> None:
    async with opened(lab.postgres.url) as store:
        connection = await asyncpg.connect(lab.postgres.url)
        await connection.execute(f"TRUNCATE {store.namespace}")
        await connection.close()
    with lab.redis.client() as client:
        client.flushall()
