"""The statements of the verbs, built once an inbox. The frequent ones take a whole batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Double,
    Executable,
    Integer,
    LargeBinary,
    Table,
    Text,
    and_,
    bindparam,
    case,
    delete,
    false,
    func,
    literal_column,
    null,
    or_,
    select,
    true,
    update,
)

from ...backends.sql.dialects import Asked, Dialect

__all__ = ["BURIED", "KEPT", "PAST", "RETRIED", "Statements"]

RETRIED = "retry"
BURIED = "bury"
_SHELVED = "shelve"

KEPT: Asked = {
    "id": Text(),
    "received_at": Double(),
    "source": Text(),
    "event_id": Text(),
    "key": Text(),
    "key_digest": LargeBinary(),
    "token": Text(),
    "head": LargeBinary(),
    "body": LargeBinary(),
}
PAST: Asked = {
    "attempts": Integer(),
    "cut_off": Integer(),
    "deferred": Boolean(),
    "last_error": Text(),
    "history": Text(),
}
_NO_PAST: Mapping[str, ColumnElement[Any]] = {
    "attempts": literal_column("0", Integer()),
    "cut_off": literal_column("0", Integer()),
    "deferred": false(),
    "last_error": null(),
    "history": literal_column("''", Text()),
}


class Statements:
    """What an inbox says to its database, whose clock decides every time.

    Each verb is one statement and commits by itself.
    """

    def __init__(self, items: Table, dialect: Dialect) -> None:
        self._items = items
        self._dialect = dialect
        self._waiting = items.c.due.is_not(None)
        self._held = items.c.spent.is_(None)  # a dead letter's token is spent, too
        self._own = and_(items.c.id == _text("item_id"), items.c.token == _text("held_by"))
        self._begun = case((items.c.begun, 1), else_=0)  # attempts that this hold has counted
        self._reset: dict[str, Any] = {"begun": false(), "spent": null()}
        self.row = [_plain(column, dialect) for column in items.c]
        self.put = self._put({**KEPT, **PAST}, {})
        self.put_new = self._put(KEPT, _NO_PAST)
        self.take = self._take(true())
        self.take_of = self._take(dialect.listed(items.c.source, "sources"))
        self.renew = self._changed(self._paired(), {"due": self._in("lease")})
        self.begin = self._begin()
        self.done = self._done()
        self.retry = self._end(RETRIED, due=self._in("after"))
        self.bury = self._end(BURIED, due=null())
        self.spent = select(items.c.spent).where(self._own)
        self.defer = self._defer()
        self.next_due = self._next_due()
        self.get = select(*self.row).where(items.c.id == _text("item_id"))
        self.requeue = self._requeue()
        self.shelve = self._shelve()
        self.shelved = self._shelved()
        self.purge = delete(items).where(self._locked(self._listed())).returning(items.c.id)

    def _in(self, name: str) -> ColumnElement[float]:
        return self._dialect.now + bindparam(name, type_=Double())

    def _listed(self) -> ColumnElement[bool]:
        return self._dialect.listed(self._items.c.id, "ids")

    def _locked(self, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        # In order, because two batches that lock their rows in different orders deadlock.
        item_id = self._items.c.id
        rows = select(item_id).where(condition).order_by(item_id).with_for_update()
        return self._dialect.picked(item_id, rows)

    def _put(self, asked: Asked, constant: Mapping[str, ColumnElement[Any]]) -> Executable:
        statement = self._dialect.insert(
            self._items,
            asked,
            lambda row: {
                **{name: row[name] for name in asked},
                **constant,
                "due": self._in("lease"),
                "came_due": self._dialect.now,
                **self._reset,
            },
        )
        known = statement.on_conflict_do_nothing(index_elements=[self._items.c.id])
        return known.returning(self._items.c.id)  # makes one statement of the batch on SQLite

    def _take(self, wanted: ColumnElement[bool]) -> Executable:
        items = self._items
        # As a subquery the clock is read once, so that the index on due serves.
        started = select(self._dialect.now).scalar_subquery()
        first = (
            select(items.c.id)
            .where(items.c.due <= started, wanted)
            .order_by(items.c.due)
            .limit(bindparam("limit", type_=Integer()))
            .with_for_update(skip_locked=True)
        )
        values = self._reset | {
            "token": self._token(),
            "came_due": items.c.due,
            "due": self._in("lease"),
        }
        return (
            update(items)
            .where(self._dialect.picked(items.c.id, first))
            .values(values)
            .returning(*self.row)
        )

    def _token(self) -> ColumnElement[str]:
        return self._items.c.id + "." + _text("nonce")

    def _paired(self) -> ColumnElement[bool]:
        """Match the items of a batch that their tokens hold."""
        pairs = self._dialect.paired(self._items.c.id, self._items.c.token)
        return self._locked(and_(pairs, self._held))

    def _changed(self, condition: ColumnElement[bool], values: dict[str, Any]) -> Executable:
        return update(self._items).where(condition).values(values).returning(self._items.c.id)

    def _begin(self) -> Executable:
        items = self._items
        values = {
            "attempts": items.c.attempts + 1 - self._begun,
            "cut_off": items.c.cut_off + 1 - self._begun,
            "begun": true(),
        }
        # It guards against handlers that kill their process, and those do not kill the server.
        return self._changed(self._dialect.unhurried(self._paired()), values)

    def _done(self) -> Executable:
        items = self._items
        siblings = and_(self._dialect.listed(items.c.key_digest, "digests"), ~self._waiting)
        ended = self._locked(or_(self._listed(), siblings))
        # An item that a crash brings back comes due, and its claim says that its event is done.
        return delete(items).where(self._dialect.unhurried(ended))

    def _failure(self) -> dict[str, Any]:
        return {
            "history": self._items.c.history + _text("entry"),
            "last_error": _text("error"),
            "cut_off": self._items.c.cut_off - self._begun,
            "begun": false(),
        }

    def _end(self, verb: str, **values: Any) -> Executable:
        """Change an item that its token holds, and end the hold."""
        return (
            update(self._items)
            .where(self._own, self._held)
            .values(self._failure() | values | {"spent": verb})
            .returning(self._items.c.id)
        )

    def _defer(self) -> Executable:
        items = self._items
        return (
            update(items)
            .where(self._own, self._held)
            .values(
                due=self._in("after"),
                deferred=true(),
                attempts=items.c.attempts - self._begun,
                cut_off=items.c.cut_off - self._begun,
                begun=false(),
            )
            .returning(items.c.id)
        )

    def _next_due(self) -> Executable:
        due = self._items.c.due
        return select(due - self._dialect.now).where(self._waiting).order_by(due).limit(1)

    def _requeue(self) -> Executable:
        values = self._reset | {
            "due": self._dialect.now,
            "token": null(),
            "attempts": 0,
            "cut_off": 0,
            "deferred": false(),
        }
        there = self._locked(self._listed())
        return update(self._items).where(there).values(values).returning(self._items.c.id)

    def _shelve(self) -> Executable:
        values = self._failure() | {"spent": _SHELVED, "due": null(), "token": self._token()}
        waiting = self._locked(and_(self._listed(), self._waiting))
        return update(self._items).where(waiting).values(values)

    def _shelved(self) -> Executable:
        # By the token, because a repetition after a lost reply finds nothing left to do.
        condition = and_(self._listed(), self._items.c.token == self._token())
        return select(func.count()).select_from(self._items).where(condition)


def _text(name: str) -> ColumnElement[str]:
    return bindparam(name, type_=Text())


def _plain(column: Any, dialect: Dialect) -> ColumnElement[Any]:
    return dialect.raw(column) if isinstance(column.type, Text | LargeBinary) else column
