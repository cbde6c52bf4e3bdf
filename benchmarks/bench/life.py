"""What does the whole durable life of an event cost: put, claim, begin, complete, done?"""

from __future__ import annotations

from webhook_dedup.bench.operations import living

from .lab import Contestant, Lab, Row, compare, opening
from .ours import OURS, through
from .peers import dbos_workflows


async def ask(lab: Lab) -> list[Row]:
    places = {
        "postgres": (lab.postgres.url, lab.postgres),
        "redis, appendfsync always": (lab.durable_redis.url, lab.durable_redis),
        "sqlite": (lab.sqlite(), None),
    }
    contestants = [
        Contestant(f"{OURS} {name}", opening(through, url, living), server)
        for name, (url, server) in places.items()
    ]
    dbos = Contestant(
        "DBOS workflow, postgres", opening(dbos_workflows, lab.postgres.url), lab.postgres
    )
    return await compare(lab, "whole life", [*contestants, dbos], 64)
