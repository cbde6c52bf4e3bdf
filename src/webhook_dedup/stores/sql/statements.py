"""The statements, built once a store. Each takes a whole batch."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Delete,
    Double,
    Executable,
    LargeBinary,
    ScalarSelect,
    Select,
    Table,
    Text,
    bindparam,
    delete,
    false,
    func,
    null,
    or_,
    select,
    true,
    update,
)

from ...backends.sql.dialects import Asked, Dialect

__all__ = ["SWEPT_AT_ONCE", "Row", "Statements"]

SWEPT_AT_ONCE = 1_000
_IDENTITY: Asked = {
    "digest": LargeBinary(),
    "key": Text(),
    "token": Text(),
    "fingerprint": LargeBinary(),
}


class Row(NamedTuple):
    """A claim as :attr:`Statements.read` returns it, in the order of the table's columns."""

    digest: bytes
    key: str
    token: str
    done: bool
    fingerprint: bytes | None
    result: bytes | None
    first_seen: float
    expires_at: float
    left: float
    """Seconds to its expiry."""


class Statements:
    """What a store says to its database.

    Every mark a statement makes or reads is compared with the database's clock at that very
    moment: it may have waited long behind another's lock. What a verb writes is returned digest
    first; a claim goes on with when it was first seen.
    """

    def __init__(self, claims: Table, dialect: Dialect) -> None:
        self._claims = claims
        self._dialect = dialect
        self._now = dialect.now
        self._left = (claims.c.expires_at - dialect.now).label("left")
        self._expired = claims.c.expires_at <= dialect.now
        self.claim = self._claim()
        self.complete = self._complete()
        self.release = self._release()
        self.renew = self._renew()
        self.read = self._read()
        self.forget = self._forget()
        self.sweep = self._sweep()

    def _claim(self) -> Executable:
        asked: Asked = {**_IDENTITY, "lease": Double()}
        statement = self._dialect.insert(
            self._claims,
            asked,
            lambda row: {
                **{name: row[name] for name in _IDENTITY},
                "done": false(),
                "result": null(),
                "first_seen": self._now,
                "expires_at": self._now + row["lease"],
            },
        )
        new = statement.excluded
        # The new row's own times are from before a possible wait; their difference is the lease.
        lease = new.expires_at - new.first_seen
        written = {"first_seen": self._now, "expires_at": self._now + lease}
        return statement.on_conflict_do_update(
            index_elements=[self._claims.c.digest],
            set_={column.name: new[column.name] for column in self._claims.c} | written,
            where=self._expired,
        ).returning(self._claims.c.digest, self._claims.c.first_seen)

    def _complete(self) -> Executable:
        asked: Asked = {
            **_IDENTITY,
            "result": LargeBinary(),
            "first_seen": Double(),
            "ttl": Double(),
        }
        statement = self._dialect.insert(
            self._claims,
            asked,
            lambda row: {
                **{name: row[name] for name in _IDENTITY},
                "done": true(),
                "result": row["result"],
                "first_seen": func.coalesce(row["first_seen"], self._now),
                "expires_at": self._now + row["ttl"],
            },
        )
        new = statement.excluded
        own = (self._claims.c.token == new.token) & ~self._claims.c.done
        return statement.on_conflict_do_update(
            index_elements=[self._claims.c.digest],
            set_={column.name: new[column.name] for column in self._claims.c},
            where=or_(own, self._expired),
        ).returning(self._claims.c.digest)

    def _release(self) -> Executable:
        held = self._dialect.held(self._claims) & ~self._claims.c.done
        return (
            delete(self._claims)
            .where(self._claims.c.digest.in_(self._locked(held)))
            .returning(self._claims.c.digest)
        )

    def _renew(self) -> Executable:
        held = self._dialect.held(self._claims) & ~self._claims.c.done & ~self._expired
        lease: ColumnElement[float] = bindparam("lease", type_=Double())
        return (
            update(self._claims)
            .where(self._claims.c.digest.in_(self._locked(held)))
            .values(expires_at=self._now + lease)
            .returning(self._claims.c.digest)
        )

    def _locked(self, condition: ColumnElement[bool]) -> Select[tuple[bytes]]:
        # In order, because two batches that lock their rows in different orders deadlock.
        digest = self._claims.c.digest
        return select(digest).where(condition).order_by(digest).with_for_update()

    def _read(self) -> Executable:
        return select(*self._claims.c, self._left).where(self._dialect.among(self._claims))

    def _forget(self) -> Executable:
        return (
            delete(self._claims).where(self._dialect.among(self._claims)).returning(~self._expired)
        )

    def _sweep(self) -> Delete:
        # As a subquery the clock is read once, so that the index on expires_at serves; and rows
        # that another holds are left to the next sweep, so that it never waits or deadlocks.
        started: ScalarSelect[float] = select(self._now).scalar_subquery()
        expired = (
            select(self._claims.c.digest)
            .where(self._claims.c.expires_at <= started)
            .order_by(self._claims.c.expires_at)
            .limit(SWEPT_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        return delete(self._claims).where(self._claims.c.digest.in_(expired))
