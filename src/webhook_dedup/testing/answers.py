"""What is delivered, what comes back, and how often a handler ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Answer", "Answers", "Deliverable", "assert_ran_once"]


class Deliverable(Protocol):
    """A request as :func:`webhook_dedup.providers.samples.sample_delivery` makes it."""

    @property
    def method(self) -> str:
        """The HTTP method."""

    @property
    def url(self) -> str:
        """Where it goes; its path and its query, at least."""

    @property
    def headers(self) -> Mapping[str, str]:
        """All headers, those of the signature included."""

    @property
    def body(self) -> bytes:
        """The exact bytes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one copy was answered.

    Attributes:
        status: The HTTP status; 500 where the app raised.
        headers: By their names in lower case.
        body: The body.
        seconds: Until it was complete.
        error: What the app raised, as text.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    error: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether its sender is satisfied."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the 2xx class


class Answers(tuple[Answer, ...]):
    """What all copies were answered, in no particular order."""

    __slots__ = ()

    @property
    def statuses(self) -> Counter[int]:
        """How often each status came."""
        return Counter(answer.status for answer in self)

    @property
    def all_accepted(self) -> bool:
        """Whether every copy was accepted."""
        return all(answer.accepted for answer in self)


def assert_ran_once(runs: Sequence[object], expected: Iterable[object] | None = None) -> None:
    """Fail unless each event ran exactly once.

    Args:
        runs: What the handler noted, an entry for each run: usually event ids. The
            ``call_args_list`` of a mock serves, too.
        expected: The entries there must be; by default at least one.

    Raises:
        AssertionError: Names what ran how often.
    """
    distinct: list[object] = []
    for run in runs:  # entries need not be hashable
        if run not in distinct:
            distinct.append(run)
    counts = [(run, sum(each == run for each in runs)) for run in distinct]
    wrong = [f"{run!r} ran {count} times" for run, count in counts if count > 1]
    wanted = [*expected] if expected is not None else distinct
    wrong += [f"{run!r} did not run" for run in wanted if run not in distinct]
    wrong += [f"{run!r} ran and was not expected" for run in distinct if run not in wanted]
    if not distinct and expected is None:
        wrong = ["the handler did not run at all"]
    if wrong:
        raise AssertionError("; ".join(wrong))
