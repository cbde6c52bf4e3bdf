"""What ``agent.py`` of the docs imports: a mail provider that keeps a ledger on disk."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

LEDGER = Path(os.environ["SERVED_LEDGER"])


async def think(message):
    await asyncio.sleep(0.005)
    return f"about {message['message_id']}"


class Mail:
    """The ledger has a line for each reply that began or was sent, and for each alert."""

    def _note(self, **line):
        with LEDGER.open("a") as ledger:
            ledger.write(json.dumps({**line, "at": time.monotonic(), "pid": os.getpid()}) + "\n")

    async def has_reply(self, message_id):
        return f'"sent": "{message_id}"' in await asyncio.to_thread(LEDGER.read_text)

    async def reply(self, message, answer, idempotency_key):
        thread = message["thread_id"]
        self._note(began=message["message_id"], thread=thread, key=idempotency_key)
        await asyncio.sleep(0.01)
        self._note(sent=message["message_id"], thread=thread, key=idempotency_key)

    async def alert(self, text):
        self._note(alert=text)


mail = Mail()
