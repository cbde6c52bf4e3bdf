"""How a verb comes to an answer for every key of its batch."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TypeVar

from sqlalchemy import Executable

from ...backends.sql.direct import Ask
from ...errors import StoreUnavailable
from ...keys import digest
from ..entry import Keyed
from .statements import Row
from .verbs import Verb

__all__ = ["live_rows", "settle"]

Asked = TypeVar("Asked", bound=Keyed)
Answer = TypeVar("Answer")

_ROUNDS = 20


async def settle(
    ask: Ask,
    *,
    verb: Verb[Asked, Answer],
    read: Executable,
    batch: Sequence[Asked],
) -> list[Answer]:
    """Write what may be written, read what could not be, and ask again for what was neither.

    A key is neither when it comes free between the two statements.
    """
    pending = {digest(asked.key): asked for asked in batch}
    order = list(pending)
    answers: dict[bytes, Answer] = {}
    for _ in range(_ROUNDS):
        answers.update(await _write(ask, verb, pending))
        pending = _unanswered(pending, answers)
        if pending:
            answers.update(await _read(ask, verb, read, pending))
            pending = _unanswered(pending, answers)
        if not pending:
            return [answers[key] for key in order]
    raise StoreUnavailable(
        "keys kept changing hands, or their leases are shorter than a statement takes; ask again"
    )


async def _write(
    ask: Ask,
    verb: Verb[Asked, Answer],
    pending: dict[bytes, Asked],
) -> dict[bytes, Answer]:
    parameters = verb.parameters(pending)
    if verb.whole is not None:
        number = await ask.count(verb.statement, parameters)
        return dict.fromkeys(pending, verb.whole) if number == len(pending) else {}
    sent = time.monotonic()
    rows = await ask.rows(verb.statement, parameters)
    waited = time.monotonic() - sent
    return _decided((row[0], verb.own(pending[row[0]], row, waited)) for row in rows)


async def _read(
    ask: Ask,
    verb: Verb[Asked, Answer],
    read: Executable,
    pending: dict[bytes, Asked],
) -> dict[bytes, Answer]:
    live = await live_rows(ask, read=read, digests=pending)
    return _decided((key, verb.other(asked, live.get(key))) for key, asked in pending.items())


async def live_rows(ask: Ask, *, read: Executable, digests: Iterable[bytes]) -> dict[bytes, Row]:
    """Return the rows of keys that are held or done, by digest."""
    rows = map(Row._make, await ask.rows(read, {"digests": list(digests)}))
    return {row.digest: row for row in rows if row.left > 0}


def _decided(judged: Iterable[tuple[bytes, Answer | None]]) -> dict[bytes, Answer]:
    return {key: answer for key, answer in judged if answer is not None}


def _unanswered(pending: dict[bytes, Asked], answers: dict[bytes, Answer]) -> dict[bytes, Asked]:
    return {key: asked for key, asked in pending.items() if key not in answers}
