"""The e-mail agent of the docs, in two processes, on every store that processes can share.

``WEBHOOK_DEDUP_AGENT_ROUNDS`` sets the number of mails.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections import Counter
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from tests.asgi.processes import APP, Served
from tests.asgi.wire import Connection, request
from tests.every_store import a_redis, lasting_url
from tests.servers import wait_until
from webhook_dedup.providers import sign

from .pages import extract

__all__ = ["a_redis"]

ROUNDS = int(os.environ.get("WEBHOOK_DEDUP_AGENT_ROUNDS", "25"))
CONNECTIONS = 5
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
AGENT = "The Agent <agent@example.com>"


store = lasting_url


class Agent(Served):
    """One process of the agent."""

    def __init__(self, directory: Path) -> None:
        super().__init__("uvicorn", directory)
        self._command = ["agent:app" if part == APP else part for part in self._command]
        self._command += ["--app-dir", str(directory)]


@pytest.fixture
def agents(store, tmp_path, monkeypatch):
    """Two processes that share store and ledger."""
    extract("email-agent.md", tmp_path)
    (tmp_path / "mail.py").write_text((Path(__file__).parent / "mail.py").read_text())
    monkeypatch.setenv("STORE", store)
    monkeypatch.setenv("AGENTMAIL_SECRET", SECRET)
    with Agent(tmp_path) as first, Agent(tmp_path) as second:
        yield first, second


class Postman:
    """Delivers mails to the agents over connections of his own."""

    def __init__(self, agents, connections):
        self._agents = agents
        self._connections = connections

    async def deliver(self, *mails: bytes) -> None:
        """Send requests at once, each on a connection of its own; all are acknowledged."""
        connections = self._connections[: len(mails)]
        for connection, mail in zip(connections, mails, strict=True):
            connection.send(mail)
        answers = await asyncio.gather(*(connection.answer() for connection in connections))
        assert [answer.status for answer in answers] == [200] * len(mails)

    @property
    def ledger(self):
        return self._agents[0].ledger

    def sent(self) -> Counter[str]:
        return Counter(line["sent"] for line in self.ledger if "sent" in line)

    async def quiet(self, ready) -> None:
        await asyncio.to_thread(
            wait_until, ready, what=f"the replies\n{self._agents[0].log[-3000:]}"
        )
        await asyncio.sleep(1.5)  # what would still be sent has had its time


@pytest.fixture
async def postman(agents):
    async with AsyncExitStack() as stack:
        ports = [agents[number % 2].port for number in range(10)]
        yield Postman(agents, [await stack.enter_async_context(Connection(port)) for port in ports])


def a_mail(message: str, thread: str, *, sender: str = "ann@customer.example") -> bytes:
    """A delivery of a mail; what it is called on the way, too, follows from the message."""
    inner = {"message_id": message, "thread_id": thread, "from": sender, "subject": "Help"}
    body = json.dumps({"event_type": "message.received", "message": inner}).encode()
    ids = {"svix-id": f"msg_{message}"}
    headers = {**ids, **sign("agentmail", secret=SECRET, body=body, headers=ids)}
    return request("/webhooks/mail", body, headers)


def a_name() -> str:
    return uuid.uuid4().hex


async def test_one_reply_for_five_deliveries(postman):
    """Each mail, delivered five times at once to two processes, gets one reply."""
    mails = [a_name() for _ in range(ROUNDS)]
    for message in mails:
        await postman.deliver(*[a_mail(message, f"thread-{message}")] * CONNECTIONS)
    await postman.quiet(lambda: len(postman.sent()) >= ROUNDS)
    assert postman.sent() == dict.fromkeys(mails, 1)


async def test_replies_of_a_thread_never_overlap(postman):
    """Of two mails of one thread at once both are answered, one after the other."""
    threads = [a_name() for _ in range(ROUNDS)]
    for thread in threads:
        mails = [a_mail(f"{thread}-{side}", thread) for side in "ab"]
        await postman.deliver(*mails * 2)
    await postman.quiet(lambda: len(postman.sent()) >= 2 * ROUNDS)
    assert set(postman.sent().values()) == {1}
    assert len(postman.sent()) == 2 * ROUNDS
    lines = [line for line in postman.ledger if "thread" in line]
    for thread in threads:
        own = sorted((line for line in lines if line["thread"] == thread), key=lambda at: at["at"])
        assert len(own) == 4
        for begun, ended in list(pairwise(own))[::2]:
            assert begun["began"] == ended["sent"], "a reply began inside another one"


async def test_own_mails_are_not_answered(postman):
    """The agent's own messages, and what is no message, come to nothing."""
    for _ in range(ROUNDS):
        await postman.deliver(*[a_mail(a_name(), a_name(), sender=AGENT)] * CONNECTIONS)
    theirs = a_name()
    await postman.deliver(a_mail(theirs, a_name()))
    await postman.quiet(lambda: len(postman.sent()) > 0)
    assert postman.sent() == {theirs: 1}


async def test_three_of_ten_and_one_escalation(postman):
    """Ten mails of one thread within the window: three replies, one alert."""
    thread = a_name()
    for number in range(10):
        await postman.deliver(a_mail(f"{thread}-{number}", thread))
    await postman.quiet(
        lambda: len(postman.sent()) >= 3 and any("alert" in line for line in postman.ledger)
    )
    assert sorted(postman.sent().values()) == [1, 1, 1]
    assert len([line for line in postman.ledger if "alert" in line]) == 1
