"""The pages people look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..admin.actions import Subject
from ..admin.moments import age_of
from ..admin.story import line_of, told_of
from ..observe.record import Kind, Reason
from .arrival import State
from .details import details_of, find_item
from .gate import Refused
from .links import asked_of
from .listing import DeliveryFilter, Listing, listed
from .live import Recent, recent
from .outcome import outcome_of
from .show import Show
from .traffic import senders, traffic_of

__all__ = ["Pages", "filter_of", "subject_of"]

_BAD_REQUEST, _NOT_FOUND = 400, 404
AGES = ("15m", "1h", "24h", "7d")
STATES = (
    State.HANDLED,
    State.SKIPPED,
    State.WAITING,
    State.FAILED,
    State.DEAD,
    State.REJECTED,
)


class Pages:
    """Looks up what pages show.

    Args:
        show: Makes them.
        mask: Names of headers to mask beside the usual ones, in lower case.
    """

    def __init__(self, show: Show, mask: frozenset[str]) -> None:
        self._show = show
        self._mask = mask

    @property
    def routes(self) -> list[Route]:
        """The pages by their paths."""
        return [
            Route("/", self.live, methods=["GET"]),
            Route("/deliveries", self.deliveries, methods=["GET"]),
            Route("/delivery", self.delivery, methods=["GET"]),
            Route("/body", self.body, methods=["GET"]),
            Route("/dead", self.dead, methods=["GET"]),
            Route("/sources", self.sources, methods=["GET"]),
        ]

    async def live(self, request: Request) -> Response:
        """Show what happened last, and from now on."""
        storage = await self._show.deployment.storage()
        wanted = filter_of(request)
        kind = _chosen(asked_of(request), "kind", tuple(each.value for each in Kind))
        history = storage.history
        told = Recent() if history is None else await recent(history, wanted, kind)
        return await self._show.page(
            request,
            "live.html",
            entries=told.entries,
            mark=told.mark,
            keeps_history=history is not None,
            kind=kind,
            kinds=list(Kind),
            reasons=list(Reason),
            wanted=wanted,
        )

    async def deliveries(self, request: Request) -> Response:
        """List deliveries as the filters say."""
        wanted = filter_of(request)
        filtered = wanted != DeliveryFilter()
        return await self._list(request, "deliveries.html", wanted, filtered=filtered)

    async def dead(self, request: Request) -> Response:
        """List dead letters."""
        wanted = replace(filter_of(request), state=State.DEAD, reason=None)
        filtered = wanted != DeliveryFilter(state=State.DEAD)
        return await self._list(request, "dead.html", wanted, filtered=filtered)

    async def _list(
        self, request: Request, template: str, wanted: DeliveryFilter, *, filtered: bool
    ) -> Response:
        storage = await self._show.deployment.storage()
        page: Listing = await listed(storage, wanted, asked_of(request).get("after", ""))
        return await self._show.page(
            request,
            template,
            page=page,
            wanted=wanted,
            filtered=filtered,
            outcome=outcome_of(request),
            keeps_history=storage.history is not None,
            states=STATES,
            reasons=list(Reason),
            ages=AGES,
            sources=sorted(self._show.deployment.routes or ()),
        )

    async def delivery(self, request: Request) -> Response:
        """Show one delivery, and the story of its event."""
        storage = await self._show.deployment.storage()
        found = await details_of(storage, subject_of(request), self._mask)
        if found is None:
            raise Refused(_NOT_FOUND, "nothing is known of this delivery any more")
        verdict, words = told_of(found.story, commands=False)
        return await self._show.page(
            request,
            "delivery.html",
            details=found,
            verdict=verdict,
            words=words,
            line_of=line_of,
            outcome=outcome_of(request),
            keeps_history=storage.history is not None,
        )

    async def body(self, request: Request) -> Response:
        """Hand over the exact bytes of a delivery that waits or is dead."""
        storage = await self._show.deployment.storage()
        item = await find_item(storage, asked_of(request).get("id", ""))
        if item is None:
            raise Refused(_NOT_FOUND, "the inbox does not have this delivery any more")
        return Response(
            item.delivery.body,
            media_type="application/octet-stream",
            headers={"Content-Disposition": 'attachment; filename="body.bin"'},
        )

    async def sources(self, request: Request) -> Response:
        """Show the sources, what they did and what is known of their providers."""
        storage = await self._show.deployment.storage()
        traffic = await traffic_of(storage.history) if storage.history is not None else None
        return await self._show.page(
            request,
            "sources.html",
            senders=senders(self._show.deployment, traffic),
            traffic=traffic,
            knows_routes=self._show.deployment.routes is not None,
        )


def subject_of(request: Request) -> Subject:
    """Return the delivery or event that an address names."""
    asked = asked_of(request)
    names = ("id", "event", "source", "tenant")
    return Subject(*(asked.get(name, "") for name in names))


def filter_of(request: Request) -> DeliveryFilter:
    """Read the filters of a list out of its address.

    Raises:
        Refused: One of them makes no sense.
    """
    asked = asked_of(request)
    state = _chosen(asked, "state", tuple(each.value for each in State))
    try:
        age = age_of(asked["age"]) if "age" in asked else None
    except ValueError as exc:
        raise Refused(_BAD_REQUEST, f"age={asked['age']}: {exc}") from exc
    return DeliveryFilter(
        source=asked.get("source"),
        state=State(state) if state else None,
        reason=asked.get("reason"),
        age=age,
        text=asked.get("text"),
        error=asked.get("error"),
    )


def _chosen(asked: Mapping[str, str], name: str, known: tuple[str, ...]) -> str | None:
    value = asked.get(name)
    if value is not None and value not in known:
        raise Refused(_BAD_REQUEST, f"{name} must be one of {', '.join(known)}")
    return value
