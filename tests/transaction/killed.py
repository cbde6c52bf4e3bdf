"""Processes killed around the commit of a handler's transaction, and what the database then holds.

``python -m tests.transaction.killed URL ROUNDS`` makes that many events. For each one process is
killed between the effect's INSERT and the commit, another after the commit, and then the delivery
comes twice more. It prints how many events have no effect and how many have several.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from sqlalchemy import Engine, create_engine, func, insert, select
from sqlalchemy.orm import Session

from webhook_dedup import AlreadyDone, claim_in
from webhook_dedup.transaction import create_table

from .conftest import metadata, payments


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def handle(url: str, event: str, *, dies: str = "") -> None:
    """Claim and pay, dying ``before`` or ``after`` the commit."""
    engine = create_engine(url)
    with Session(engine) as session:
        try:
            claim_in(session, event)
        except AlreadyDone:
            return
        session.execute(insert(payments).values(event=event))
        if dies == "before":
            die()
        session.commit()
        if dies == "after":
            die()
    engine.dispose()


def in_process(work: Callable[[], None]) -> int:
    """Run work in a process of its own; return the signal that ended it."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def counted(engine: Engine, events: list[str]) -> tuple[int, int]:
    """How many events have no effect, and how many have several."""
    with engine.connect() as connection:
        effects = select(payments.c.event, func.count()).group_by(payments.c.event)
        found = dict(connection.execute(effects).tuples().all())
    return (
        sum(event not in found for event in events),
        sum(count > 1 for count in found.values()),
    )


def main(url: str, rounds: int) -> None:
    engine = create_engine(url)
    metadata.create_all(engine)
    with engine.begin() as connection:
        create_table(connection)
    engine.dispose()
    events = [f"evt_{number}" for number in range(rounds)]
    killed = 0
    for event in events:
        for dies in ("before", "after", "", ""):
            ended = in_process(lambda event=event, dies=dies: handle(url, event, dies=dies))
            killed += ended == -signal.SIGKILL
    lost, doubled = counted(engine, events)
    sys.stdout.write(f"killed {killed} lost {lost} doubled {doubled}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
