"""The fenced verbs: what each writes, and what the rows that it meets mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Executable

from ...backends.sql.dialects import Dialect
from ...keys import printable
from ...model import Bid, Claim, Outcome, Settlement
from ..entry import Keyed, outcome_of
from .statements import Row, Statements

__all__ = ["Verb", "claiming", "completing", "releasing", "renewing", "sight"]


Asked = TypeVar("Asked", bound=Keyed)
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Verb(Generic[Asked, Answer]):
    """What is particular to one verb. A judgement of ``None`` means: only asking again can tell.

    Attributes:
        statement: Writes the keys that it may and returns their rows.
        parameters: Makes the statement's parameters of a batch by digest.
        own: Judges a row that the statement wrote, which was sent so many seconds ago.
        other: Judges the live row that the statement left alone, or that there is none.
        whole: The answer for each key of a batch that was written whole, where this can be told
            without the rows; ``other`` then judges the live rows of any other batch.
    """

    statement: Executable
    parameters: Callable[[Mapping[bytes, Asked]], Any]
    own: Callable[[Asked, Sequence[Any], float], Answer | None]
    other: Callable[[Asked, Row | None], Answer | None]
    whole: Answer | None = None


def claiming(statements: Statements, dialect: Dialect) -> Verb[Bid, Claim]:
    """Take what is absent or has expired."""

    def parameters(bids: Mapping[bytes, Bid]) -> Any:
        asked = bids.values()
        return dialect.columns(
            {
                "digest": list(bids),
                "key": [printable(bid.key) for bid in asked],
                "token": [bid.token for bid in asked],
                "fingerprint": [bid.fingerprint for bid in asked],
                "lease": [bid.lease for bid in asked],
            }
        )

    return Verb(statements.claim, parameters, _taken, _not_taken)


def completing(statements: Statements, dialect: Dialect) -> Verb[Settlement, bool]:
    """Mark done what the token holds, or what nobody holds."""

    def parameters(batch: Mapping[bytes, Settlement]) -> Any:
        asked = batch.values()
        claims = [settlement.claim for settlement in asked]
        return dialect.columns(
            {
                "digest": list(batch),
                "key": [printable(claim.key) for claim in claims],
                "token": [claim.token for claim in claims],
                "fingerprint": [claim.fingerprint for claim in claims],
                "result": [settlement.result for settlement in asked],
                "first_seen": [claim.first_seen for claim in claims],
                "ttl": [settlement.ttl for settlement in asked],
            }
        )

    return Verb(statements.complete, parameters, _written, _not_completed, whole=True)


def releasing(statements: Statements, dialect: Dialect) -> Verb[Claim, bool]:
    """Delete what the token holds."""

    def parameters(claims: Mapping[bytes, Claim]) -> Any:
        return dialect.pairs(_pairs(claims))

    return Verb(statements.release, parameters, _written, _not_released, whole=True)


def renewing(statements: Statements, dialect: Dialect, lease: float) -> Verb[Claim, bool]:
    """Prolong what the token holds under a live lease."""

    def parameters(claims: Mapping[bytes, Claim]) -> Any:
        return {**dialect.pairs(_pairs(claims)), "lease": lease}

    return Verb(statements.renew, parameters, _written, lambda *_: False)


def sight(key: str, row: Row | None) -> Claim | None:
    """Say how the live row of a key stands, to someone who bids for nothing."""
    return _not_taken(Bid(key, "", 0.0), row)


def _written(*_: object) -> bool:
    return True


def _taken(bid: Bid, row: Sequence[Any], waited: float) -> Claim | None:
    # It began after the statement was sent. One that ran out while the statement waited for the
    # rows of others is anybody's as soon as the statement ends.
    left = bid.lease - waited
    if left <= 0:
        return None
    return Claim(
        key=bid.key,
        token=bid.token,
        outcome=Outcome.FRESH,
        fingerprint=bid.fingerprint,
        first_seen=row[1],
        remaining=left,
        holder=bid.token,
    )


def _not_taken(bid: Bid, row: Row | None) -> Claim | None:
    if row is None:
        return None
    return Claim(
        key=bid.key,
        token=bid.token,
        outcome=outcome_of(bid, row.token, row.fingerprint, bool(row.done)),
        fingerprint=bid.fingerprint,
        first_seen=row.first_seen,
        remaining=row.left,
        done=bool(row.done),
        holder=row.token,
        result=row.result,
    )


def _not_completed(settlement: Settlement, row: Row | None) -> bool | None:
    if row is None or _holds(settlement.claim, row):
        return None
    return bool(row.token == settlement.claim.token)


def _not_released(claim: Claim, row: Row | None) -> bool | None:
    if row is None:
        return True
    return None if _holds(claim, row) else False


def _holds(claim: Claim, row: Row) -> bool:
    return row.token == claim.token and not row.done


def _pairs(claims: Mapping[bytes, Claim]) -> list[tuple[bytes, str]]:
    return [(key, claim.token) for key, claim in claims.items()]
