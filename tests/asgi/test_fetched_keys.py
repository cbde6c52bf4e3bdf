"""Schemes whose keys are fetched: in a thread, one at a time, and never as a 401 for an outage."""

from __future__ import annotations

import asyncio
import threading

from webhook_dedup.asgi import verification
from webhook_dedup.errors import SignatureError
from webhook_dedup.observe.record import Kind

from .kit import BODY, Handler, deliver, mounted, settled, source, until


class Fetching:
    """A scheme that has to fetch its key first.

    Attributes:
        failing: What fetching raises.
        threads: Who fetched.
        gate: Fetches wait here; open at first.
    """

    def __init__(self) -> None:
        self.failing: SignatureError | None = None
        self.threads: list[threading.Thread] = []
        self.known = False
        self.gate = threading.Event()
        self.gate.set()
        self.at_once = self.most_at_once = 0

    def load_secret(self, secret):
        return secret.encode()

    def lacks(self, message, secrets):
        assert secrets == (b"a secret",)
        return not self.known

    def fetch(self, message, secrets):
        self.threads.append(threading.current_thread())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.gate.wait(10)
            if self.failing is not None:
                raise self.failing
            self.known = True
        finally:
            self.at_once -= 1

    def verify(self, message, secrets, now):
        assert self.known
        if message.header("x-forged"):
            raise SignatureError("signature_mismatch", "forged")

    def sign(self, message, secret, now):
        return {}


async def test_key_is_fetched_in_a_thread_and_once():
    """Deliveries that come while a key is fetched wait for it; the event loop does not."""
    scheme, handler = Fetching(), Handler()
    scheme.gate.clear()
    async with mounted(handler, sources=[source(signature=scheme)]) as (app, _):
        bodies = [b'{"id": "%d"}' % number for number in range(20)]
        calls = [asyncio.ensure_future(deliver(app, body, headers={})) for body in bodies]
        await until(lambda: scheme.threads)
        scheme.gate.set()
        replies = await asyncio.gather(*calls)
        await settled(app)
    assert {reply.status for reply in replies} == {200}
    assert len(scheme.threads) == 1
    assert scheme.threads[0] is not threading.main_thread()


async def test_key_that_cannot_be_had_asks_the_sender_again():
    """``key_unavailable`` is a 503 with Retry-After; the redelivery is accepted."""
    scheme, handler = Fetching(), Handler()
    scheme.failing = SignatureError("key_unavailable", "the key could not be fetched")
    async with mounted(handler, sources=[source(signature=scheme)]) as (app, records):
        away = await deliver(app, headers={})
        scheme.failing = None
        back = await deliver(app, headers={})
        await settled(app)
    assert (away.status, back.status) == (503, 200)
    assert int(away.headers["retry-after"]) >= 1
    [rejected] = records.of(Kind.REJECTED)
    assert rejected.reason == "key_unavailable"


async def test_key_that_is_not_genuine_is_a_401():
    """A message that names a key of somebody else is refused for good."""
    scheme, handler = Fetching(), Handler()
    scheme.failing = SignatureError("malformed_signature", "no host of theirs")
    async with mounted(handler, sources=[source(signature=scheme)]) as (app, _):
        assert (await deliver(app, headers={})).status == 401
    assert handler.runs == []


async def test_known_key_is_not_fetched():
    """Once there, a key is used without a thread; a forged signature is a 401."""
    scheme, handler = Fetching(), Handler()
    scheme.known = True
    async with mounted(handler, sources=[source(signature=scheme)]) as (app, _):
        assert (await deliver(app, headers={})).status == 200
        assert (await deliver(app, headers={"x-forged": "yes"})).status == 401
    assert scheme.threads == []


async def test_only_so_many_deliveries_wait_for_a_key(monkeypatch):
    """A flood of messages with unknown keys is told to come again and holds no memory."""
    monkeypatch.setattr(verification, "MOST_WAITING", 3)
    scheme, handler = Fetching(), Handler()
    scheme.gate.clear()
    async with mounted(handler, sources=[source(signature=scheme)]) as (app, _):
        bodies = [b'{"id": "%d"}' % number for number in range(10)]
        calls = [asyncio.ensure_future(deliver(app, body, headers={})) for body in bodies]
        await until(lambda: sum(call.done() for call in calls) >= 7)
        _, waiting = await asyncio.wait(calls, timeout=0.2)
        assert len(waiting) == 3
        scheme.gate.set()
        replies = await asyncio.gather(*calls)
        assert sorted(reply.status for reply in replies) == [200] * 3 + [503] * 7
        assert (await deliver(app, BODY, headers={})).status == 200
        await settled(app)
    assert scheme.most_at_once == 1
