"""What does it cost to claim a key and complete it, here and in libraries that do the same?"""

from __future__ import annotations

from webhook_dedup.bench.operations import completing

from .by_hand import redis_pair
from .lab import Contestant, Lab, Row, compare, opening
from .ours import every_store
from .peers import idemkit_postgres, idemkit_redis, powertools_redis


async def ask(lab: Lab) -> list[Row]:
    contestants = [
        *every_store(lab, completing),
        Contestant("redis-py SET NX, SET", opening(redis_pair, lab.redis.url), lab.redis),
        Contestant("idemkit redis", opening(idemkit_redis, lab.redis.url), lab.redis),
        Contestant("idemkit postgres", opening(idemkit_postgres, lab.postgres.url), lab.postgres),
        Contestant("Powertools redis", opening(powertools_redis, lab.redis), lab.redis),
    ]
    return await compare(lab, "claim + complete", contestants, 64)
