"""Fills templates with what every page needs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache, partial
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from ..admin.lookup import Storage
from ..admin.story import BY_HAND
from ..contracts import Sought
from ..errors import StoreError
from . import filters
from .deployment import Deployment
from .gate import visitor_of
from .links import asked_of, link

__all__ = ["Show"]


class Show:
    """Makes pages.

    Args:
        deployment: What they are about.
        signs_in: Whether visitors sign in, so that they may sign out.
    """

    def __init__(self, deployment: Deployment, *, signs_in: bool) -> None:
        self.deployment = deployment
        self._signs_in = signs_in
        self._templates = _environment()

    async def page(
        self, request: Request, name: str, *, status: int = 200, **context: Any
    ) -> HTMLResponse:
        """Make the response of a page for visitors."""
        context["dead_letters"] = await self._dead_letters()
        return self.bare(request, name, status=status, asked=asked_of(request), **context)

    def bare(
        self, request: Request, name: str, *, status: int = 200, **context: Any
    ) -> HTMLResponse:
        """Make the response of a page that asks nobody for anything."""
        return HTMLResponse(self.part(request, name, **context), status)

    def part(self, request: Request, name: str, **context: Any) -> str:
        """Make a part of a page."""
        link_to: Callable[..., str] = partial(link, request)
        return self._templates.get_template(name).render(
            visitor=visitor_of(request),
            link=link_to,
            signs_in=self._signs_in,
            **{"dead_letters": None, **context},
        )

    async def _dead_letters(self) -> int | None:
        try:
            storage: Storage = await self.deployment.storage()
            return await storage.inbox.count(Sought(state="dead"))
        except StoreError:  # an app without sources has no inbox, and one that is away no count
            return None


@cache  # what is compiled for one app serves all of its process
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__ or "", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=filters.finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        ago=filters.ago,
        hexdump=filters.hexdump,
        marked=filters.marked,
        size=filters.size,
        span=filters.span,
        text=filters.body_text,
        within=filters.within,
    )
    environment.globals.update(assets=_digest_of_assets(), by_hand=tuple(BY_HAND))
    return environment


def _digest_of_assets() -> str:
    """Return what changes with the files of ``static/``, so that browsers may keep them."""
    together = hashlib.sha256()
    for file in sorted(files(__package__ or "").joinpath("static").iterdir(), key=str):
        together.update(file.read_bytes())
    return together.hexdigest()[:12]
