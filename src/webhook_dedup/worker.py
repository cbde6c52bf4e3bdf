"""The process of ``webhook-dedup work``, as an app that is started in it sees it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .dedup import Dedup

__all__ = ["AT_WORK", "Worker"]


@dataclass(slots=True)
class Worker:
    """A process that serves nobody and runs what others accepted.

    Attributes:
        poll: Seconds between looks into the inbox.
        dedups: What was started in this process.
    """

    poll: float
    dedups: list[Dedup] = field(default_factory=list)


AT_WORK: ContextVar[Worker | None] = ContextVar("webhook_dedup.at_work", default=None)
"""Set where an app is started to work and not to serve."""
