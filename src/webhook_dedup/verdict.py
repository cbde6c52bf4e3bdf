"""Judges how a run ended: the event is done, runs again or is set aside."""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass, replace

from .errors import AlreadyDone, Discard, InProgress, Locked, OverBudget, Retry, Skipped
from .observe.record import Kind, Reason

__all__ = ["Ending", "Refusal", "Verdict", "judge", "succeeded"]

# Statuses below 500 after which the same request may succeed later: moved, not deployed yet,
# timed out, in conflict, too early, too many.
_RETRIABLE = frozenset({404, 405, 408, 409, 425, 429})


class Refusal(int):
    """The status of an answer that is no success, with the beginning of what it said.

    It is an ``int``, so that guards, which hand on what the handler answered, need not know of it.
    """

    said: str

    def __new__(cls, status: int, said: str) -> Refusal:  # noqa: PYI034 - Self needs Python 3.11
        refusal = super().__new__(cls, status)
        refusal.said = said
        return refusal


class Ending(enum.Enum):
    """What becomes of an event after a run."""

    DONE = "done"
    RETRY = "retry"
    WAIT = "wait"
    """Run again without counting the attempt."""
    BURY = "bury"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A run, judged.

    Attributes:
        ending: What becomes of the event.
        detail: Why, in one line without secrets.
        after: Seconds until the next run, ``None`` follows the policy's back-off.
        status: The handler's HTTP status, if it had one.
        error: What the handler raised.
        reason: Why it was not run, as records have it, when a guard or the handler said so.
        said: The beginning of what a handler answered that refused the event. It is a body, which
            no log, metric or span may show.
    """

    ending: Ending
    detail: str = ""
    after: float | None = None
    status: int | None = None
    error: BaseException | None = None
    reason: str | None = None
    said: str = ""

    @property
    def done(self) -> bool:
        """Whether the event is not to be run again."""
        return self.ending in _FINAL

    @property
    def kind(self) -> Kind:
        """The kind of record that tells of it, if the claim was held to the end."""
        return _FINAL.get(self.ending, Kind.FAILED)


_FINAL = {Ending.DONE: Kind.SUCCEEDED, Ending.DISCARD: Kind.SKIPPED}


def succeeded(status: int) -> bool:
    """Whether an HTTP status means that the event is done."""
    return 200 <= status < 300  # noqa: PLR2004 - the 2xx class


def judge(error: BaseException | None, status: int | None = None) -> Verdict:
    """Judge a run by what it raised or, for HTTP handlers, by the status it answered.

    2xx is done; 3xx, 404, 405, 408, 409, 425, 429 and 5xx are tried again; other 4xx are kept for
    a person. An exception fails even after a 2xx.
    """
    if error is None:
        if isinstance(status, Refusal):
            return replace(_judge_status(int(status)), said=status.said)
        return Verdict(Ending.DONE) if status is None else _judge_status(status)
    return _asked_for(error) or Verdict(Ending.RETRY, _told(error), error=error)


def _asked_for(error: BaseException) -> Verdict | None:
    """Return the verdict that a handler or a guard asked for by what it raised."""
    if isinstance(error, Discard):
        why = error.code if isinstance(error, Skipped) else Reason.DISCARDED.value
        return Verdict(Ending.DISCARD, error.reason, reason=why)
    if isinstance(error, AlreadyDone):
        return Verdict(Ending.DONE, str(error))
    if isinstance(error, Retry):
        return Verdict(Ending.RETRY, str(error), error.after)
    if isinstance(error, InProgress):
        locked = Reason.LOCKED.value if isinstance(error, Locked) else None
        return Verdict(Ending.WAIT, str(error), error.retry_after, reason=locked)
    if isinstance(error, OverBudget):
        return Verdict(Ending.BURY, str(error), reason=Reason.OVER_BUDGET.value)
    return None


def _told(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:500]
    except Exception:  # noqa: BLE001 - an error that cannot be told must still be judged
        return type(error).__name__


@functools.lru_cache(maxsize=1000)
def _judge_status(status: int) -> Verdict:
    if succeeded(status):
        return Verdict(Ending.DONE, status=status)
    final = 400 <= status < 500 and status not in _RETRIABLE  # noqa: PLR2004 - the 4xx class
    ending = Ending.BURY if final else Ending.RETRY
    return Verdict(ending, f"the handler answered {status}", status=status)
