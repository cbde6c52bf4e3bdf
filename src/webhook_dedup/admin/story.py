"""What is known of one event, put into words."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..model import Claim, Item
from ..observe.history import Entry
from ..observe.record import Kind, Record
from .moments import instant
from .runs import runs_begun

__all__ = ["BY_HAND", "Story", "line_of", "reason_in_words", "told_of"]


@dataclass(frozen=True, slots=True)
class Story:
    """What history, inbox and store know of an event.

    Attributes:
        event_id: The provider's event id.
        source: Name of the source.
        tenant: The tenant, if the source has tenants.
        entries: Of the history, in their order.
        items: Of the inbox, the first received first.
        claim: How the event stands in the store; ``None`` if it is absent there.
        cut: Whether of thousands of entries only the first and the last are told.
    """

    event_id: str
    source: str
    tenant: str = ""
    entries: list[Entry] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    claim: Claim | None = None
    cut: bool = False

    @property
    def known(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.entries or self.items or self.claim)

    def last(self, *kinds: Kind) -> Record | None:
        """Return the last record of these kinds."""
        found = (entry.record for entry in reversed(self.entries) if entry.record.kind in kinds)
        return next(found, None)

    def lines(self) -> Iterator[str]:
        """Tell what happened, a line each."""
        for entry in self.entries:
            row = entry.record.delivery_id
            by = f" (delivery {row})" if row else ""
            yield f"{instant(entry.record.at)}  {line_of(entry)}{by}"
        for item in self.items:
            yield _of_item(item)
        if self.claim is not None:
            yield _of_claim(self.claim)


def told_of(story: Story, *, commands: bool = True) -> tuple[str, str]:
    """Return the verdict on an event in one word, and a sentence or two.

    Args:
        story: What is known of it.
        commands: Name the command that helps.
    """
    verdict, words = _verdict(story)
    remedy = ""
    if commands and verdict == "dead":
        remedy = f"Run it again with 'webhook-dedup inbox replay {_dead(story)[-1].id}'."
    return verdict, " ".join(filter(None, (words, remedy, _copies(story))))


def _verdict(story: Story) -> tuple[str, str]:
    dead = _dead(story)
    if story.claim is not None and story.claim.done:
        return "done", _handled(story, story.claim)
    if story.claim is not None:
        return "running", _held(story, story.claim)
    if dead:
        return "dead", _buried(dead[-1])
    if story.items:
        return "waiting", _waiting(story, story.items[-1])
    return _from_history(story)


def _dead(story: Story) -> list[Item]:
    return [item for item in story.items if item.dead]


def _from_history(story: Story) -> tuple[str, str]:
    """Judge an event that neither the store nor the inbox knows any more."""
    succeeded = story.last(Kind.SUCCEEDED, Kind.RECOVERED)
    if succeeded is not None:
        return "forgotten", (
            f"it was handled {instant(succeeded.at)}; the store has forgotten it since, so another "
            "copy would run again."
        )
    failed = story.last(Kind.FAILED, Kind.LEASE_LOST, Kind.BURIED)
    if failed is not None:
        return "failed", (
            f"its last run failed {instant(failed.at)} ({failed.detail or 'no reason told'}), and "
            "nothing is left to run; it runs when its sender sends it again."
        )
    skipped = story.last(Kind.SKIPPED)
    if skipped is not None:
        return "skipped", f"it never ran: {reason_in_words(skipped)}."
    started = story.last(Kind.STARTED)
    if started is not None:
        return "lost", (
            f"a run began {instant(started.at)} and nobody told of its end; neither the store nor "
            "the inbox has it any more."
        )
    return _refused(story)


def _refused(story: Story) -> tuple[str, str]:
    """Judge an event of which no run is told, nor why there was none."""
    rejected = story.last(Kind.REJECTED)
    if rejected is not None:
        return "rejected", (
            f"it was refused {instant(rejected.at)} ({rejected.detail}); it runs when its sender "
            "sends it again."
        )
    if story.entries:
        return "unfinished", "it arrived, and nobody told of a run."
    return "unknown", "nothing is known of it."


def _handled(story: Story, claim: Claim) -> str:
    ended = story.last(Kind.SUCCEEDED)
    discarded = story.last(Kind.SKIPPED)
    until = instant(time.time() + claim.remaining)
    row = _row(claim.holder)
    by = f" by delivery {row}" if row else ""
    if ended is None and discarded is not None and discarded.reason == "discarded":
        return f"its handler discarded it ({discarded.detail}); copies are skipped until {until}."
    when = f" {instant(ended.at)}" if ended else ""
    return f"it was handled{when}{by}; copies are skipped until {until}."


def _held(story: Story, claim: Claim) -> str:
    started = story.last(Kind.STARTED)
    since = f" since {instant(started.at)}" if started else ""
    by = _runner(story, claim)
    return (
        f"it is being handled{since}{by}; the lease ends in {claim.remaining:.0f} s unless it is "
        "renewed, and copies wait until then."
    )


def _runner(story: Story, claim: Claim) -> str:
    row = _row(claim.holder)
    for entry in reversed(story.entries):
        if entry.record.kind is Kind.STARTED and entry.record.delivery_id in {row, None}:
            return f" by {entry.by}"
    return f" by delivery {row}" if row else ""


def _buried(item: Item) -> str:
    error = item.history[-1].error if item.history else "no reason told"
    return f"it is a dead letter after {_attempts(item.attempts)} ({error})."


def _waiting(story: Story, item: Item) -> str:
    if item.history:
        retried = story.last(Kind.RETRIED)
        soon = ""
        if retried is not None and retried.delay is not None:
            soon = f"; the next is due {instant(retried.at + retried.delay)}"
        return (
            f"it waits to run again: {_attempts(len(item.history))} failed, the last with "
            f"{item.history[-1].error}{soon}."
        )
    deferred = story.last(Kind.DEFERRED)
    if deferred is not None:
        return f"it waits in the inbox: {reason_in_words(deferred)}."
    if item.attempts:
        return (
            "it waits in the inbox: a run began and did not end, so its process has died or still "
            "winds down; it runs again when its lease is over."
        )
    return "it was accepted and waits in the inbox; no run has begun. Is a worker running?"


def _copies(story: Story) -> str:
    # By whatever is told of them: a process that is killed may take the record of an arrival along.
    rows = {entry.record.delivery_id for entry in story.entries} - {None}
    if not rows:
        return ""
    untold = _untold(story)
    skips = Counter(
        entry.record.reason for entry in story.entries if entry.record.kind is Kind.SKIPPED
    )
    skipped = ", ".join(f"{count} skipped as {reason}" for reason, count in skips.items())
    runs = runs_begun(story.entries, story.items) + bool(untold)
    arrived = _times(len(rows | untold))
    told = f"It arrived {arrived} and ran {_times(runs)}{', ' if skips else ''}{skipped}"
    return f"{told}, and more often than is told here." if story.cut else f"{told}."


def _untold(story: Story) -> set[str | None]:
    """Return the delivery whose run, by the claim, ended well though no entry tells of that run."""
    row = _row(story.claim.holder) if story.claim is not None and story.claim.done else ""
    own = [entry.record.kind for entry in story.entries if entry.record.delivery_id == row]
    return {row} if row and (not own or own[-1] in _BEFORE_A_RUN) else set()


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def _attempts(number: int) -> str:
    return "one attempt" if number == 1 else f"{number} attempts"


def line_of(entry: Entry) -> str:
    """Tell in a line what an entry says."""
    record = entry.record
    if record.kind is Kind.RECEIVED:
        late = f": {record.detail}" if record.detail else ""
        return f"arrived{_request(entry)}{late}"
    if record.kind is Kind.STARTED:
        return f"run {record.attempt or 1} began on {entry.by}"
    words = BY_HAND.get(record.reason or "", _WORDS.get(record.kind, record.kind.value))
    took = "" if record.duration is None else f" after {record.duration:.2f} s"
    return f"{words}{took}{_why_so(record)}"


def _request(entry: Entry) -> str:
    request = entry.request
    return "" if request is None else f" by {request.method} {request.path}, {request.size} bytes"


_BEFORE_A_RUN = {Kind.RECEIVED, Kind.DEFERRED, Kind.FAILED, Kind.LEASE_LOST, Kind.RETRIED}

_WORDS = {
    Kind.SUCCEEDED: "handled",
    Kind.FAILED: "failed",
    Kind.REJECTED: "refused",
    Kind.SKIPPED: "a copy was skipped",
    Kind.DEFERRED: "put off",
    Kind.RETRIED: "to be run again",
    Kind.BURIED: "set aside as a dead letter",
    Kind.RECOVERED: "found to be done before a crash",
    Kind.LEASE_LOST: "lost its lease",
    Kind.STORE_ERROR: "the store failed",
    Kind.ESCALATED: "handed to a person",
}

BY_HAND = {
    "replayed": "replayed by hand",
    "buried": "buried by hand",
    "forgotten": "forgotten by hand",
    "purged": "deleted from the inbox by hand",
    "budget_reset": "a budget was given back by hand",
}

_REASONS = {
    "duplicate": "the event is done already",
    "in_flight": "another copy is being handled",
    "self_sent": "the app itself caused it",
    "filtered": "a filter leaves it out",
    "locked": "another event of its subject is being handled",
    "already_done": "the app's own data say that it is done",
    "over_budget": "the budget of its subject is spent",
    "discarded": "its handler discarded it",
    "store_away": "the store did not answer",
}


def _why_so(record: Record) -> str:
    if record.kind in {Kind.SKIPPED, Kind.DEFERRED}:
        return f": {reason_in_words(record)}"
    if record.kind is Kind.RETRIED and record.delay is not None:
        return f" in {record.delay:.1f} s"
    if record.kind in {Kind.FAILED, Kind.LEASE_LOST} and record.status:
        return f": the handler answered {record.status}"
    return f": {record.detail}" if record.detail else ""


def reason_in_words(record: Record) -> str:
    """Tell why an event was skipped or put off."""
    if record.reason == "in_flight" and record.original_id == record.delivery_id is not None:
        return "an earlier run of its own did not end, and holds it until its lease is over"
    words = _REASONS.get(record.reason or "", record.reason or record.detail or "no reason told")
    more = f" ({record.detail})" if record.detail and record.detail != words else ""
    body = ", though its body differs" if record.body_changed else ""
    original = f", the first is delivery {record.original_id}" if record.original_id else ""
    return f"{words}{original}{body}{more}"


def _of_item(item: Item) -> str:
    state = "a dead letter" if item.dead else "waiting"
    return (
        f"the inbox has it as item {item.id}, {state}, received "
        f"{instant(item.delivery.received_at)}, {_attempts(item.attempts)} begun"
    )


def _of_claim(claim: Claim) -> str:
    seen = "" if claim.first_seen is None else f", first seen {instant(claim.first_seen)}"
    holder = f" by {claim.holder}" if claim.holder else ""
    return f"the store has it {'done' if claim.done else 'held'}{holder}{seen}"


def _row(token: str | None) -> str:
    """Return the delivery a token was made for; tokens begin with the id of their row."""
    return (token or "").rpartition(".")[0]
