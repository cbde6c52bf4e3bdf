"""Every error the library raises, under one base.

::

    WebhookDedupError
    ├── ConfigError             (ValueError)   given at start-up, cannot work
    │   ├── MissingExtra                       an optional package is not installed
    │   └── MissingPower                       the store cannot remember what was asked of it
    ├── StoreError                             a store or an inbox failed
    │   ├── StoreUnavailable                   not reached, or no answer in time: try again later
    │   └── SchemaError                        its tables are absent or of another version
    │       └── TableAbsent                    a table is not there
    ├── RejectedDelivery                       an HTTP delivery is refused with a 4xx or 503
    │   └── SignatureError                     unsigned, wrongly signed or too old
    ├── InProgress                             another holder runs this key now
    │   └── Locked                             another event of the same subject is handled now
    ├── OverBudget                             as many sends as may be were made in the window
    ├── AlreadyDone                            the key is done, and no result of it is kept
    ├── IdempotencyMismatch                    the key came before with another request
    ├── UnstorableResult        (TypeError)    the result cannot be given to later callers
    ├── LeaseLost                              the claim ran out while its handler was running
    ├── HandlerTimeout          (TimeoutError) it took longer than its ``handler_timeout``
    ├── Retry                                  raised by a handler: run me again later
    └── Discard                                raised by a handler: never run this again
        └── Skipped                            a guard decided that there is nothing to run
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

__all__ = [
    "AlreadyDone",
    "ConfigError",
    "Discard",
    "HandlerTimeout",
    "IdempotencyMismatch",
    "InProgress",
    "LeaseLost",
    "Locked",
    "MissingExtra",
    "MissingPower",
    "OverBudget",
    "RejectedDelivery",
    "Retry",
    "SchemaError",
    "SignatureError",
    "Skipped",
    "StoreError",
    "StoreUnavailable",
    "TableAbsent",
    "UnstorableResult",
    "WebhookDedupError",
]


class WebhookDedupError(Exception):
    """Base of every error of this library."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Be pickled by what it holds: a pool of processes makes it anew, not by its arguments."""
        return _made_anew, (type(self), self.args, self.__dict__)


def _made_anew(
    kind: type[WebhookDedupError], args: tuple[object, ...], held: dict[str, object]
) -> WebhookDedupError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(held)
    return error


class ConfigError(WebhookDedupError, ValueError):
    """Something given at start-up cannot work; the message says what to write instead."""


class MissingExtra(ConfigError):
    """An optional package is needed and not installed.

    Args:
        what: The feature that needs it, for example ``"redis:// stores"``.
        extra: The extra of this package that brings it, for example ``"redis"``.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} need a package that is not installed; "
            f"run: pip install 'webhook_dedup[{extra}]'"
        )
        self.extra = extra


class MissingPower(ConfigError):
    """A feature needs its store to remember something that this store cannot."""


class StoreError(WebhookDedupError):
    """A store or an inbox failed."""


class StoreUnavailable(StoreError):
    """The store was not reached, did not answer in time or is full. The call may be repeated."""


class SchemaError(StoreError):
    """The store's tables are absent, or were made by another version of this library."""


class TableAbsent(SchemaError):
    """A table is not there, as that of an inbox is not where an app has no sources."""


class RejectedDelivery(WebhookDedupError):
    """A delivery is refused before anything is claimed or stored.

    Attributes:
        status: The HTTP status the sender is told.
        code: One stable snake_case word for programs.
        detail: One sentence for people. It never holds secrets or bodies.
        retry_after: Seconds after which the sender should try again, or ``None``.
    """

    def __init__(
        self, status: int, code: str, detail: str, *, retry_after: float | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after = retry_after


class SignatureError(RejectedDelivery):
    """The signature of a delivery is missing, malformed, wrong or too old (HTTP 401)."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(401, code, detail)


class InProgress(WebhookDedupError):
    """Another holder runs this key now; ask again after ``retry_after`` seconds."""

    def __init__(self, key: str, retry_after: float) -> None:
        super().__init__(f"{key!a} is being handled elsewhere; try again in {retry_after:.1f} s")
        self.key = key
        self.retry_after = retry_after


class Locked(InProgress):
    """Another event of the same subject is handled now; ask again after ``retry_after`` seconds."""


class OverBudget(WebhookDedupError):
    """As many sends as the budget of a subject allows were made in its window.

    Raised by a guard it sets the event aside for a person.
    """


class AlreadyDone(WebhookDedupError):
    """The key is done: its effects are there, and there is no result to return.

    Raised out of a handler it ends the event as done.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"{key!a} has been done before")
        self.key = key


class IdempotencyMismatch(WebhookDedupError):
    """An idempotency key came before with another request, whose result is not this one's."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key!a} came before with another request; give each request its own key")
        self.key = key


class UnstorableResult(WebhookDedupError, TypeError):
    """A result cannot be given to later callers as it was.

    The call that made it raises this, having stored nothing of it; a later one raises it when the
    function's results have another type now, and what is stored does not fit.
    """


class LeaseLost(WebhookDedupError):
    """The claim was lost while its handler was running, and the handler was cancelled."""


class HandlerTimeout(WebhookDedupError, TimeoutError):
    """The handler took longer than its ``handler_timeout``, and was cancelled."""


class Retry(WebhookDedupError):
    """Raised by a handler to be run again.

    Args:
        reason: Why, for the log.
        after: Seconds (or a ``timedelta``) to wait; ``None`` follows the policy's back-off.

    Raises:
        ConfigError: ``reason`` is no text, or ``after`` no finite number, by which the event would
            never come due.
    """

    def __init__(self, reason: str = "", *, after: float | timedelta | None = None) -> None:
        if not isinstance(reason, str):
            raise ConfigError(f"Retry(reason) takes text, got {reason!r}; write Retry(after=…)")
        super().__init__(reason or "the handler asked for a retry")
        self.after = after.total_seconds() if isinstance(after, timedelta) else after
        if self.after is not None and not math.isfinite(self.after):
            raise ConfigError(f"Retry(after=…) takes seconds or a timedelta, got {after!r}")


class Discard(WebhookDedupError):
    """Raised by a handler to end an event for good: it is remembered as done."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the handler discarded the event")
        self.reason = str(self)


class Skipped(Discard):
    """Raised by a guard: there is nothing to run, and the event is done.

    Attributes:
        code: Why, as records say it: ``"already_done"``, ``"locked"``.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def out_of_group(error: BaseException) -> BaseException:
    """Return what a task group failed with, if that is one error, and of this library.

    What is raised in a task means what it means outside of one: the group's wrapping hides it from
    whoever acts on it.
    """
    inner: BaseException = error
    while isinstance(held := getattr(inner, "exceptions", None), tuple) and len(held) == 1:
        inner = held[0]
    return inner if isinstance(inner, WebhookDedupError) else error
