"""Processes killed inside ``once`` before they send, and what is sent in the end.

``python -m tests.once.killed URL ROUNDS SCOPE LEDGER`` kills a process inside the block of each
message, then sends all of them from other processes that try again when told.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path

from webhook_dedup import InProgress, once

from ..transaction.killed import in_process

LEASE = 1.0


async def send(url: str, message: str, scope: str, ledger: str | None) -> None:
    """Write a message into the ledger once; without a ledger die before that."""
    while True:
        try:
            async with once(url, message, scope=scope, lease=LEASE) as first:
                if ledger is None:
                    os.kill(os.getpid(), signal.SIGKILL)
                if first:
                    write(ledger, message)
                return
        except InProgress as wait:
            await asyncio.sleep(wait.retry_after + 0.01)


def write(ledger: str, message: str) -> None:
    with Path(ledger).open("a") as book:
        book.write(f"{message}\n")


async def send_all(url: str, messages: list[str], scope: str, ledger: str) -> None:
    await asyncio.gather(*(send(url, message, scope, ledger) for message in messages))


def main(url: str, rounds: int, scope: str, ledger: str) -> None:
    messages = [f"order-{number}-confirmation" for number in range(rounds)]
    killed = sum(
        in_process(lambda message=message: asyncio.run(send(url, message, scope, None)))
        == -signal.SIGKILL
        for message in messages
    )
    for _ in range(2):  # the second time everything has been sent
        in_process(lambda: asyncio.run(send_all(url, messages, scope, ledger)))
    sent = Counter(Path(ledger).read_text().split())
    lost = sum(message not in sent for message in messages)
    sys.stdout.write(
        f"killed {killed} lost {lost} doubled {sum(count > 1 for count in sent.values())}\n"
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:5])
