"""The actions: replay, bury, forget. Each is confirmed first, and recorded with who did it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ..admin.actions import (
    BURY,
    FORGET,
    REPLAY,
    Act,
    Action,
    Subject,
    one_by_one,
    record_of,
    subject_of_item,
)
from ..admin.lookup import Storage, stories_of
from ..contracts import OperableInbox
from ..errors import MissingPower
from .arrival import Arrival, State
from .details import find_item
from .gate import Refused, visitor_of
from .links import asked_of
from .listing import Listing, found_in_inbox
from .outcome import Outcome, link_to_outcome
from .pages import filter_of, subject_of
from .show import Show

__all__ = ["Actions"]

_OK, _SEE_OTHER, _NOT_FOUND, _CONFLICT = 200, 303, 404, 409
_MOST_REPLAYED = 5_000
_LONGEST_REASON = 200

Endpoint = Callable[[Request], Awaitable[Response]]


class Actions:
    """Asks, acts, and goes back to where the outcome is seen.

    Args:
        show: Makes the pages that ask.
    """

    def __init__(self, show: Show) -> None:
        self._show = show
        self._deployment = show.deployment

    @property
    def routes(self) -> list[Route]:
        """The actions by their paths. GET asks, POST acts."""
        actions = {
            "/replay": self.replay,
            "/replay-all": self.replay_all,
            "/bury": self.bury,
            "/forget": self.forget,
        }
        both = ["GET", "POST"]
        return [Route(path, _for_admins(action), methods=both) for path, action in actions.items()]

    async def replay(self, request: Request) -> Response:
        """Run a delivery again, its attempts counted from zero."""
        subject = await self._in_inbox(request)
        if request.method != "POST":
            return await self._ask(request, REPLAY, [subject])
        number = await self._carry_out(request, REPLAY, [subject], _requeue)
        return self._seen(request, subject, REPLAY, number)

    async def replay_all(self, request: Request) -> Response:
        """Run the dead letters again that a filter finds; ask again if others were seen."""
        storage = await self._deployment.storage()
        wanted = replace(filter_of(request), state=State.DEAD)
        after = asked_of(request).get("after", "")
        found = await found_in_inbox(storage, wanted, after, most=_MOST_REPLAYED)
        digest = _digest(found)
        if request.method != "POST":
            return await self._ask_for_all(request, found, digest)
        seen = visitor_of(request).form.get("seen", digest)  # programs look at no page
        if not hmac.compare_digest(seen.encode(), digest.encode()):
            return await self._ask_for_all(request, found, digest, changed=True)
        subjects = [*map(_subject, found.arrivals)]
        number = await self._carry_out(request, REPLAY, subjects, _requeue)
        return _redirect(link_to_outcome(request, "dead", Outcome(REPLAY.done, number)))

    async def bury(self, request: Request) -> Response:
        """Make a waiting delivery a dead letter."""
        subject = await self._in_inbox(request)
        if request.method != "POST":
            return await self._ask(request, BURY, [subject])
        visitor = visitor_of(request)
        why = visitor.form.get("reason", "").strip()[:_LONGEST_REASON]
        reason = f"buried by {visitor.name}{': ' if why else ''}{why}"

        async def shelve(inbox: OperableInbox, item_ids: Sequence[str]) -> int:
            return await inbox.shelve(item_ids, reason)

        number = await self._carry_out(request, BURY, [subject], shelve)
        return self._seen(request, subject, BURY, number)

    async def forget(self, request: Request) -> Response:
        """Make the store forget an event, so that its next delivery runs."""
        key, subject = await _remembered(await self._deployment.storage(), subject_of(request))
        if request.method != "POST":
            return await self._ask(request, FORGET, [subject])
        try:
            forgotten = await self._deployment.forget(key)
        except MissingPower as exc:
            raise Refused(_CONFLICT, str(exc)) from exc
        if forgotten:
            self._record(request, FORGET, subject)
        return self._seen(request, subject, FORGET, int(forgotten))

    async def _in_inbox(self, request: Request) -> Subject:
        item = await find_item(await self._deployment.storage(), asked_of(request).get("id", ""))
        if item is None:
            raise Refused(_NOT_FOUND, "the inbox does not have this delivery any more")
        return subject_of_item(item)

    async def _ask(self, request: Request, action: Action, subjects: Sequence[Subject]) -> Response:
        return await self._show.page(
            request, "confirm.html", act=action.name, subjects=subjects, many=False
        )

    async def _ask_for_all(
        self, request: Request, found: Listing, digest: str, *, changed: bool = False
    ) -> Response:
        return await self._show.page(
            request,
            "confirm.html",
            status=_CONFLICT if changed else _OK,
            act=REPLAY.name,
            subjects=[*map(_subject, found.arrivals)],
            many=True,
            seen=digest,
            changed=changed,
            rest=found.after,
        )

    async def _carry_out(
        self, request: Request, action: Action, subjects: Sequence[Subject], act: Act
    ) -> int:
        """Act on deliveries in the inbox; say how many were there."""
        storage = await self._deployment.storage()
        return await one_by_one(
            storage.inbox, subjects, act, lambda subject: self._record(request, action, subject)
        )

    def _record(self, request: Request, action: Action, subject: Subject) -> None:
        self._deployment.record(record_of(action, subject, visitor_of(request).name))

    def _seen(self, request: Request, subject: Subject, action: Action, number: int) -> Response:
        """Go to the page where the outcome is seen."""
        return _redirect(
            link_to_outcome(
                request,
                "delivery",
                Outcome(action.done, number),
                id=subject.delivery_id,
                event=subject.event_id,
                source=subject.source,
                tenant=subject.tenant,
            )
        )


def _for_admins(act: Endpoint) -> Endpoint:
    """Keep the pages that ask from those who may not act."""

    async def guarded(request: Request) -> Response:
        visitor_of(request).must_act()
        return await act(request)

    return guarded


async def _requeue(inbox: OperableInbox, item_ids: Sequence[str]) -> int:
    return await inbox.requeue(item_ids)


def _subject(arrival: Arrival) -> Subject:
    return Subject(arrival.delivery_id or "", arrival.event_id, arrival.source, arrival.tenant)


def _digest(found: Listing) -> str:
    """Return what changes with what was found."""
    return hashlib.sha256("\n".join(each.mark for each in found.arrivals).encode()).hexdigest()


async def _remembered(storage: Storage, subject: Subject) -> tuple[str, Subject]:
    """Return the key that the store has for an event, and the event without a foreign delivery."""
    stories = await stories_of(storage, subject.event_id, subject.source, subject.tenant)
    story = next(story for story in stories if story.tenant == subject.tenant)
    if story.claim is None:
        raise Refused(_NOT_FOUND, "the store neither holds nor remembers this event")
    own = {entry.record.delivery_id for entry in story.entries}
    own.update(item.id for item in story.items)
    if subject.delivery_id not in own:
        subject = replace(subject, delivery_id="")
    return story.claim.key, subject


def _redirect(url: str) -> Response:
    return RedirectResponse(url, _SEE_OTHER)
