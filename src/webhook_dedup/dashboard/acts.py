"""What people do: replay, bury, forget. Each is asked about first, and recorded with who did it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ..contracts import OperableInbox
from ..desk.stories import Rooms, stories_of
from ..errors import MissingPower
from ..model import Item
from ..observe.record import Kind, Record
from .arrival import State, arrival_of_item
from .dossier import Subject, find_item
from .gate import Refused, visitor_of
from .links import asked_of, link
from .listing import items_of
from .pages import subject_of, wish_of
from .show import Show

__all__ = ["Acts"]

_SEE_OTHER, _NOT_FOUND, _CONFLICT = 303, 404, 409
_AT_ONCE = 500
_LONGEST_REASON = 200

Endpoint = Callable[[Request], Awaitable[Response]]
Carry = Callable[[OperableInbox, Sequence[str]], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class _Act:
    """Something that can be done, and how it is recorded."""

    name: str
    done: str
    kind: Kind


_REPLAY = _Act("replay", "replayed", Kind.RETRIED)
_BURY = _Act("bury", "buried", Kind.BURIED)
_FORGET = _Act("forget", "forgotten", Kind.ESCALATED)


class Acts:
    """Asks, acts, and goes back to where the outcome is seen.

    Args:
        show: Makes the pages that ask.
    """

    def __init__(self, show: Show) -> None:
        self._show = show
        self._place = show.place

    @property
    def routes(self) -> list[Route]:
        """The acts by their paths. GET asks, POST acts."""
        acts = {
            "/replay": self.replay,
            "/replay-all": self.replay_all,
            "/bury": self.bury,
            "/forget": self.forget,
        }
        both = ["GET", "POST"]
        return [Route(path, _for_admins(act), methods=both) for path, act in acts.items()]

    async def replay(self, request: Request) -> Response:
        """Run a delivery again, its attempts counted from zero."""
        subject = await self._in_inbox(request)
        if request.method != "POST":
            return await self._ask(request, _REPLAY, [subject])
        number = await self._carry_out(request, _REPLAY, [subject], _requeue)
        return self._seen(request, subject, _REPLAY, number)

    async def replay_all(self, request: Request) -> Response:
        """Run the dead letters again that a filter finds."""
        rooms = await self._place.rooms()
        wish = replace(wish_of(request), state=State.DEAD)
        found = [_subject(item) async for item in items_of(rooms, wish)]
        if request.method != "POST":
            return await self._ask(request, _REPLAY, found, many=True)
        number = await self._carry_out(request, _REPLAY, found, _requeue)
        return _redirect(link(request, "dead", done=_REPLAY.done, number=str(number)))

    async def bury(self, request: Request) -> Response:
        """Make a waiting delivery a dead letter."""
        subject = await self._in_inbox(request)
        if request.method != "POST":
            return await self._ask(request, _BURY, [subject])
        visitor = visitor_of(request)
        why = visitor.form.get("reason", "").strip()[:_LONGEST_REASON]
        reason = f"buried by {visitor.name}{': ' if why else ''}{why}"

        async def shelve(inbox: OperableInbox, ids: Sequence[str]) -> int:
            return await inbox.shelve(ids, reason)

        number = await self._carry_out(request, _BURY, [subject], shelve)
        return self._seen(request, subject, _BURY, number)

    async def forget(self, request: Request) -> Response:
        """Make the store forget an event, so that its next delivery runs."""
        subject = subject_of(request)
        rooms = await self._place.rooms()
        key = await _key_of(rooms, subject)
        if request.method != "POST":
            return await self._ask(request, _FORGET, [subject])
        try:
            forgotten = await self._place.forget(key)
        except MissingPower as exc:
            raise Refused(_CONFLICT, str(exc)) from exc
        if forgotten:
            self._record(request, _FORGET, subject)
        return self._seen(request, subject, _FORGET, int(forgotten))

    async def _in_inbox(self, request: Request) -> Subject:
        item = await find_item(await self._place.rooms(), asked_of(request).get("id", ""))
        if item is None:
            raise Refused(_NOT_FOUND, "the inbox does not have this delivery any more")
        return _subject(item)

    async def _ask(
        self, request: Request, act: _Act, subjects: Sequence[Subject], *, many: bool = False
    ) -> Response:
        return await self._show.page(
            request, "confirm.html", act=act.name, subjects=subjects, many=many
        )

    async def _carry_out(
        self, request: Request, act: _Act, subjects: Sequence[Subject], carry: Carry
    ) -> int:
        """Act on deliveries in the inbox; say how many were there."""
        rooms = await self._place.rooms()
        number = 0
        for start in range(0, len(subjects), _AT_ONCE):
            part = subjects[start : start + _AT_ONCE]
            done = await carry(rooms.inbox, [subject.delivery_id for subject in part])
            number += done
            for subject in part if done else ():
                self._record(request, act, subject)
        return number

    def _record(self, request: Request, act: _Act, subject: Subject) -> None:
        self._place.record(
            Record(
                act.kind,
                subject.source,
                event_id=subject.event_id or None,
                tenant=subject.tenant or None,
                delivery_id=subject.delivery_id or None,
                reason=act.done,
                detail=f"by {visitor_of(request).name}",
            )
        )

    def _seen(self, request: Request, subject: Subject, act: _Act, number: int) -> Response:
        """Go to the page where the outcome is seen."""
        return _redirect(
            link(
                request,
                "delivery",
                id=subject.delivery_id,
                event=subject.event_id,
                source=subject.source,
                tenant=subject.tenant,
                done=act.done,
                number=str(number),
            )
        )


def _for_admins(act: Endpoint) -> Endpoint:
    """Keep the pages that ask from those who may not act."""

    async def guarded(request: Request) -> Response:
        visitor_of(request).must_act()
        return await act(request)

    return guarded


async def _requeue(inbox: OperableInbox, ids: Sequence[str]) -> int:
    return await inbox.requeue(ids)


def _subject(item: Item) -> Subject:
    arrival = arrival_of_item(item)
    return Subject(item.id, arrival.event_id, arrival.source, arrival.tenant)


async def _key_of(rooms: Rooms, subject: Subject) -> str:
    """Return the key that the store has for an event."""
    stories = await stories_of(rooms, subject.event_id, subject.source, subject.tenant)
    story = next(story for story in stories if story.tenant == subject.tenant)
    if story.claim is None:
        raise Refused(_NOT_FOUND, "the store neither holds nor remembers this event")
    return story.claim.key


def _redirect(url: str) -> Response:
    return RedirectResponse(url, _SEE_OTHER)
