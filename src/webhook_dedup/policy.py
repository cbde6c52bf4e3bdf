"""The options of a source or a decorator, with defaults that lose nothing."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, get_args

from .errors import ConfigError

__all__ = [
    "DAY",
    "DEFAULT_TTL",
    "RETRY_AFTER",
    "SETTLE_PATIENCE",
    "Ack",
    "Duration",
    "Policy",
    "Retries",
    "check_choice",
    "check_count",
    "check_policy",
    "methods_of",
    "seconds",
    "whole_seconds",
]

Duration = float | int | timedelta
"""Seconds, or a ``timedelta``."""

Ack = Literal["first", "claimed", "handled"]
"""When the sender gets its 200: once recorded, once claimed, or once handled."""

OnMissingId = Literal["reject", "process", "hash_body"]
OnMismatch = Literal["skip", "reject"]
OnStoreError = Literal["defer", "reject", "process"]

DAY = 86_400.0
DEFAULT_TTL = 2 * DAY
SETTLE_PATIENCE = 5.0
"""Seconds for which a completion is repeated while somebody waits for what the work returned."""
RETRY_AFTER = 5.0
"""Seconds after which a sender is asked to come again, where nothing else is known."""
LONGEST = 36_525 * DAY
STEEPEST = 1000


def seconds(value: object, name: str, *, zero: bool = False) -> float:
    """Return a duration as float seconds, converted with ``total_seconds()``.

    Raises:
        ConfigError: It is no duration, not finite, or not positive (``zero`` admits 0).
    """
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    else:
        raise ConfigError(f"{name} must be seconds or a timedelta, got {value!r}")
    if not (0 < number < LONGEST or (zero and number == 0)):
        least = "at least 0" if zero else "greater than 0"
        raise ConfigError(
            f"{name} must be {least} seconds and finite, got {value!r}; "
            f"write for example {name}=30 or {name}=timedelta(hours=48)"
        )
    return number


def whole_seconds(wait: float) -> int:
    """Return a wait as the header ``Retry-After`` has it: never less, and at least 1."""
    return max(1, math.ceil(wait))


def check_choice(value: object, choices: object, name: str) -> None:
    """Refuse a value that is none of a ``Literal``'s.

    Raises:
        ConfigError: Names the value and the choices.
    """
    allowed = get_args(choices)
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def check_count(value: object, name: str) -> None:
    """Refuse what is not a whole number of 1 or more.

    Raises:
        ConfigError: Names the value.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{name} must be a whole number, 1 or more, got {value!r}")


@dataclass(frozen=True, slots=True, init=False)
class Retries:
    """How often a failing event is run, and how long between runs.

    The wait before run ``n + 1`` is ``initial * factor ** (n - 1)`` seconds, at most ``maximum``,
    made up to ``jitter`` (a share of it) shorter at random so that failures do not come back in
    step. By default that is 15 runs within about three hours, so that what the handler needs may be
    away for that long.

    Attributes:
        attempts: Runs in all, the first one included.
        initial: Wait before the second run.
        factor: Growth of the wait from run to run, 1 to 1000.
        maximum: Longest wait.
        jitter: Share of the wait that is left to chance, 0 to 1.
    """

    attempts: int
    initial: float
    factor: float
    maximum: float
    jitter: float

    def __init__(
        self,
        *,
        attempts: int = 15,
        initial: Duration = 1.0,
        factor: float = 2.0,
        maximum: Duration = 3600.0,
        jitter: float = 0.25,
    ) -> None:
        check_count(attempts, "retries attempts")
        if not 1 <= factor <= STEEPEST:
            raise ConfigError(f"retries factor must lie between 1 and {STEEPEST}, got {factor!r}")
        if not 0 <= jitter <= 1:
            raise ConfigError(f"retries jitter must lie between 0 and 1, got {jitter!r}")
        _assign(
            self,
            attempts=attempts,
            initial=seconds(initial, "retries initial", zero=True),
            factor=factor,
            maximum=seconds(maximum, "retries maximum", zero=True),
            jitter=jitter,
        )

    def wait(self, attempt: int) -> float:
        """Return the seconds to wait after run ``attempt`` (from 1) failed."""
        # The exponent is bounded so that a huge attempt count cannot overflow a float.
        wait = min(self.initial * self.factor ** min(attempt - 1, 64), self.maximum)
        return wait * (1 - self.jitter * random.random())  # noqa: S311 - spreads load, no secret


@dataclass(frozen=True, slots=True, init=False)
class Policy:
    """How events of a source, or calls of a decorated function, are treated.

    Durations are given as seconds or a ``timedelta``, and read back as float seconds.

    Attributes:
        ttl: How long a done event is remembered. ``None``: 48 hours, or the preset's retry horizon
            plus a margin when that is longer.
        lease: How long a claim lives if its holder goes silent. Renewed while the handler runs,
            so it bounds recovery after a crash, not the handler.
        on_missing_id: A delivery without an event id is rejected (400), processed without
            deduplication, or identified by a hash of its body.
        on_mismatch: A known id with another body is skipped as a duplicate (several providers
            count attempts inside the body) or rejected.
        on_store_error: A claim the store cannot answer now is deferred until it can (rejected with
            503 where nothing keeps the delivery), rejected, or processed without a claim.
        max_body: Largest body accepted, in bytes, packed and unpacked.
        max_in_flight: Handlers of this process running at once.
        handler_timeout: Seconds after which a handler is cancelled and counted as failed.
        retries: Attempts and back-off for events that were acknowledged before their handler ran.
        drain_timeout: Seconds that shutdown waits for running handlers, and for a store that is
            away to take what they have done.
        observe_only: Record duplicates but run them all the same.
    """

    ttl: float | None
    lease: float
    on_missing_id: OnMissingId
    on_mismatch: OnMismatch
    on_store_error: OnStoreError
    max_body: int
    max_in_flight: int
    handler_timeout: float | None
    retries: Retries
    drain_timeout: float
    observe_only: bool

    def __init__(
        self,
        *,
        ttl: Duration | None = None,
        lease: Duration = 30.0,
        on_missing_id: OnMissingId = "reject",
        on_mismatch: OnMismatch = "skip",
        on_store_error: OnStoreError = "defer",
        max_body: int = 1 << 20,
        max_in_flight: int = 256,
        handler_timeout: Duration | None = None,
        retries: Retries | None = None,
        drain_timeout: Duration = 20.0,
        observe_only: bool = False,
    ) -> None:
        check_choice(on_missing_id, OnMissingId, "on_missing_id")
        check_choice(on_mismatch, OnMismatch, "on_mismatch")
        check_choice(on_store_error, OnStoreError, "on_store_error")
        check_count(max_body, "max_body")
        check_count(max_in_flight, "max_in_flight")
        if retries is not None and not isinstance(retries, Retries):
            raise ConfigError(f"retries must be Retries(attempts=…), got {retries!r}")
        timeout = None if handler_timeout is None else seconds(handler_timeout, "handler_timeout")
        _assign(
            self,
            ttl=None if ttl is None else seconds(ttl, "ttl"),
            lease=seconds(lease, "lease"),
            on_missing_id=on_missing_id,
            on_mismatch=on_mismatch,
            on_store_error=on_store_error,
            max_body=max_body,
            max_in_flight=max_in_flight,
            handler_timeout=timeout,
            retries=retries or Retries(),
            drain_timeout=seconds(drain_timeout, "drain_timeout", zero=True),
            observe_only=observe_only,
        )


def check_policy(policy: object) -> None:
    """Refuse what is given as a policy and is none.

    Raises:
        ConfigError: Says how a policy is written.
    """
    if policy is not None and not isinstance(policy, Policy):
        raise ConfigError(f"policy must be a Policy such as Policy(ttl=3600), got {policy!r}")


def methods_of(methods: Iterable[str], whose: str) -> frozenset[str]:
    """Return HTTP methods in capitals.

    Raises:
        ConfigError: They are no list, where text would be taken for a list of letters, or none.
    """
    given = [] if isinstance(methods, str) or not isinstance(methods, Iterable) else list(methods)
    if not given or not all(isinstance(method, str) for method in given):
        raise ConfigError(f"methods of {whose} must be a list such as ['POST'], got {methods!r}")
    return frozenset(method.upper() for method in given)


def _assign(frozen: object, **fields: object) -> None:
    for name, value in fields.items():
        object.__setattr__(frozen, name, value)
