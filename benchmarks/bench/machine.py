"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from .lab import Lab

PACKAGES = (
    "webhook_dedup", "redis", "asyncpg", "SQLAlchemy", "aiosqlite", "pybloom-live", "starlette",
    "uvicorn", "uvloop", "httptools", "idemkit", "aws-lambda-powertools",
    "asgi-idempotency-header", "dbos",
)  # fmt: skip


def describe(lab: Lab) -> dict[str, Any]:
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "servers": {"redis": lab.redis.version, "postgres": lab.postgres.version},
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
