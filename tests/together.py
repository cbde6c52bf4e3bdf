"""Processes of one script that set out together."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

__all__ = ["run_together", "spawn"]


async def spawn(code: str, *arguments: str) -> asyncio.subprocess.Process:
    """Start a script, with pipes to and from it."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def run_together(number: int, code: str, *arguments: str) -> list[Any]:
    """Let so many processes go once all of them have said ``ready``; return their JSON."""
    processes = [await spawn(code, *arguments) for _ in range(number)]
    for process in processes:
        assert await process.stdout.readline() == b"ready\n"
    answers = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert all(process.returncode == 0 for process in processes)
    return [json.loads(out) for out, _ in answers]
