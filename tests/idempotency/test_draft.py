"""draft-ietf-httpapi-idempotency-key-header-07, clause by clause.

Every MUST and SHOULD of the draft is a row, those that bind clients too: there the row shows that
a client which keeps it is served. The words are the draft's in short.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import pytest

from webhook_dedup import IdempotencyMiddleware
from webhook_dedup.stores import MemoryStore
from webhook_dedup.testing import FakeClock

from .shop import BOB, Shop, is_problem, replayed

Check = Callable[[], Awaitable[None]]
ROWS: list[tuple[str, str, Check]] = []

OTHER = b'{"item": "tea", "amount": 3}'


def row(section: str, says: str) -> Callable[[Check], Check]:
    def add(check: Check) -> Check:
        ROWS.append((section, says, check))
        return check

    return add


@row("2.1", "its value MUST be a String")
async def a_string() -> None:
    shop = Shop()
    first = await shop.order('"8e03978e-40d5-43e8-bc93-6894a57f9324"')
    again = await shop.order('"8e03978e-40d5-43e8-bc93-6894a57f9324"')
    assert (first.status, again.body) == (201, first.body)
    assert replayed(again)


@row("2.1", "a String may escape quotes and backslashes, and parameters may follow (RFC 8941)")
async def an_escaped_string() -> None:
    shop = Shop()
    await shop.order(r'"a\"b\\c"')
    assert replayed(await shop.order(r'"a\"b\\c"; version=1'))
    assert not replayed(await shop.order(r'"a\\"'))


@row("2.1", "what is no String is refused")
async def no_string() -> None:
    for value in [
        '"open',
        'a"b',
        '("a" "b")',
        '"a", "b"',
        '"\x7f"',
        '"\u00e9"',
        '"a\\b"',
        '""',
        '" "',
    ]:
        shop = Shop()
        assert is_problem(await shop.order(value), 400, "bad_key"), value
        assert shop.runs == []


@row("2.2", "MUST NOT be reused with a different request payload")
async def reused() -> None:
    shop = Shop()
    first = await shop.order()
    assert is_problem(await shop.order(body=OTHER), 422, "key_reused")
    assert (await shop.order()).body == first.body
    assert len(shop.runs) == 1


@row("2.2", "uniqueness MUST be defined by the resource owner: method, path, caller")
async def unique_for_an_operation() -> None:
    shop = Shop()
    await shop.order()
    for other in [{"method": "PATCH"}, {"path": "/refunds"}, {"by": BOB}]:
        assert (await shop.order(**other)).status == 201
    assert len(shop.runs) == 4


@row("2.2", "RECOMMENDED that a UUID or a similar random identifier be used")
async def random_identifiers() -> None:
    shop = Shop()
    for key in [str(uuid.uuid4()), "clkyoesmbgybucifusbbtdsbohtyuuwz"]:
        for written in [f'"{key}"', key]:
            await shop.order(written)
    assert len(shop.runs) == 2


@row("2.3", "SHOULD define an expiration policy and publish it")
async def expires() -> None:
    clock = FakeClock()
    shop = Shop(MemoryStore(clock=clock), ttl=3600)
    await shop.order()
    clock.advance(3599)
    assert replayed(await shop.order())
    clock.advance(2)
    assert not replayed(await shop.order())
    assert "48 hours unless given. Publish it" in (IdempotencyMiddleware.__doc__ or "")


@row("2.4", "a fingerprint MAY be used to determine the uniqueness of a request")
async def fingerprints() -> None:
    shop = Shop()
    await shop.order(body=b'{"a": 1, "b": 2}')
    assert replayed(await shop.order(body=b'{"b":2,"a":1}'))
    assert (await shop.order(body=b'{"a": 1, "b": 3}')).status == 422
    assert (await shop.order(body=b'{"a": 1, "b": 2}', query_string=b"dry=1")).status == 422


@row("2.5.1", "clients MAY choose to send a key: without one requests are handled as ever")
async def without_a_key() -> None:
    shop = Shop()
    assert [(await shop.order(None)).status for _ in range(2)] == [201, 201]
    assert len(shop.runs) == 2


@row("2.5.1", "for each request a client SHOULD send a unique key")
async def a_key_for_each() -> None:
    shop = Shop()
    bodies = {(await shop.order(f'"{number}"')).body for number in range(5)}
    assert len(bodies) == len(shop.runs) == 5


@row("2.5.2", "MUST publish a specification, with its expiration policy")
async def published() -> None:
    shop = Shop(required=True, docs="https://shop.example/idempotency")
    reply = await shop.order(None)
    assert reply.json()["type"] == "https://shop.example/idempotency"


@row("2.5.2", "SHOULD identify the key from the Idempotency-Key header")
async def from_the_header() -> None:
    shop = Shop()
    await shop.order(None, headers={"IDEMPOTENCY-KEY": "k1"})
    assert replayed(await shop.order())


@row("2.5.2", "SHOULD generate a fingerprint if required and enforce idempotency")
async def enforced() -> None:
    shop = Shop()
    replies = await asyncio.gather(*(shop.order() for _ in range(20)))
    assert len(shop.runs) == 1
    assert {reply.status for reply in replies} <= {201, 409}


@row("2.6", "first request: SHOULD process normally and respond appropriately")
async def first_request() -> None:
    shop = Shop()
    reply = await shop.order()
    assert (reply.status, reply.json()) == (201, {"order": 1})
    assert not replayed(reply)
    assert shop.runs == [b'{"item": "tea", "amount": 2}']


@row("2.6", "retry: SHOULD respond with the result of the completed operation, a success")
async def retried_success() -> None:
    shop = Shop()
    first = await shop.order()
    for _ in range(3):
        again = await shop.order()
        assert (again.status, again.body) == (first.status, first.body)
        assert again.headers["content-type"] == first.headers["content-type"]
        assert replayed(again)
    assert len(shop.runs) == 1


@row("2.6", "retry: SHOULD respond with the result of the completed operation, or an error")
async def retried_error() -> None:
    for status in (400, 402, 403, 404, 410, 422):
        shop = Shop()
        shop.statuses = [status]
        replies = [await shop.order(), await shop.order()]
        assert [reply.status for reply in replies] == [status, status]
        assert replayed(replies[1])


@row("2.6", "concurrent request: SHOULD respond with a resource conflict error")
async def concurrent() -> None:
    shop = Shop()
    first = await shop.begun()
    assert (await shop.order()).status == 409
    shop.gate.set()
    assert (await first).status == 201


@row("2.7", "key missing: SHOULD reply 400 with a link to documentation")
async def missing() -> None:
    shop = Shop(required=True)
    assert is_problem(await shop.order(None), 400, "key_missing")
    assert shop.runs == []


@row("2.7", "key reused: SHOULD reply 422 with a link to documentation")
async def mismatch() -> None:
    shop = Shop()
    await shop.order()
    assert is_problem(await shop.order(body=OTHER), 422, "key_reused")


@row("2.7", "key reused while the first request is processed: 422 as well")
async def mismatch_in_flight() -> None:
    shop = Shop()
    first = await shop.begun()
    assert is_problem(await shop.order(body=OTHER), 422, "key_reused")
    shop.gate.set()
    await first


@row("2.7", "still processed: SHOULD reply 409 with a link to documentation")
async def outstanding() -> None:
    shop = Shop()
    first = await shop.begun()
    reply = await shop.order()
    assert is_problem(reply, 409, "in_progress")
    assert 1 <= int(reply.headers["retry-after"]) <= 5
    shop.gate.set()
    await first


@row("2.7", "clients MUST correct a request before a retry, with the exception of 409")
async def corrected() -> None:
    shop = Shop()
    first = await shop.begun()
    assert (await shop.order()).status == 409
    shop.gate.set()
    await first
    assert replayed(await shop.order())  # the same request, unchanged
    assert (await shop.order(body=OTHER)).status == 422
    assert (await shop.order('"k2"', body=OTHER)).status == 201


@row("2.7", "other failures: the client SHOULD act as documented; what may pass later is not kept")
async def failed() -> None:
    for status in (409, 425, 429, 500, 502, 503, 504):
        shop = Shop()
        shop.statuses = [status]
        assert [(await shop.order()).status for _ in range(2)] == [status, 201]


@row("5", "establish a fixed format and always validate the key before processing")
async def validated() -> None:
    shop = Shop()
    assert (await shop.order(f'"{"k" * 255}"')).status == 201
    for key in ["k" * 256, f'"{"k" * 256}"']:
        assert is_problem(await shop.order(key), 400, "bad_key")
    assert len(shop.runs) == 1


@row("5", "a unique composite key: nobody fetches an entry that belongs to another client")
async def composite() -> None:
    shop = Shop()
    shop.headers = [(b"x-secret", b"ada's")]
    await shop.order("1")
    shop.headers = []
    reply = await shop.order("1", by=BOB)
    assert (reply.json(), replayed(reply)) == ({"order": 2}, False)
    assert "x-secret" not in reply.headers


@pytest.mark.parametrize(
    ("section", "says", "check"), ROWS, ids=[f"{section} {says}"[:70] for section, says, _ in ROWS]
)
async def test_draft(section, says, check):
    """The middleware does what this clause says."""
    await check()
