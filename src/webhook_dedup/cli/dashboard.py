"""``webhook-dedup dashboard``: the pages of an app, served from outside by its store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer
import uvicorn

from ..errors import ConfigError, MissingExtra
from ..observe.history import History
from .output import obey, say
from .places import InboxUrl, Places, StoreUrl, inbox_of, opened_store

__all__ = ["dashboard"]

_Token = Annotated[
    str, typer.Option(envvar="WEBHOOK_DEDUP_DASHBOARD_TOKEN", help="Opens it for admins.")
]
_ReadOnlyToken = Annotated[
    str,
    typer.Option(
        envvar="WEBHOOK_DEDUP_DASHBOARD_READ_ONLY_TOKEN", help="Opens it for looking only."
    ),
]


def dashboard(
    *,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at.")] = 8765,
    token: _Token = "",
    read_only_token: _ReadOnlyToken = "",
    mask_header: Annotated[
        list[str] | None, typer.Option(help="A header whose values are not shown, repeatable.")
    ] = None,
    store: StoreUrl = "",
    inbox: InboxUrl = "",
) -> None:
    """Serve pages about what arrived, what was skipped and why, what waits and what died.

    Without a token it listens at this machine only. Give tokens by their variables, since others
    on this machine see the arguments of commands.
    """
    obey(_dashboard(Places(store, inbox), host, port, (token, read_only_token), mask_header or ()))


async def _dashboard(
    places: Places, host: str, port: int, tokens: tuple[str, str], masked: Sequence[str]
) -> int:
    try:
        from ..dashboard.app import pages_of  # noqa: PLC0415 - of another extra
        from ..dashboard.auth import Loopback, Tokens, door_of, is_loopback  # noqa: PLC0415
        from ..dashboard.place import StorePlace  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        raise MissingExtra(f"the pages of the dashboard ({exc.name})", "dashboard") from exc
    if not (any(tokens) or is_loopback(host)):
        raise ConfigError(
            f"whoever reaches {host} could look and act; set WEBHOOK_DEDUP_DASHBOARD_TOKEN, or "
            "listen at 127.0.0.1"
        )
    auth = Tokens(*(token or None for token in tokens)) if any(tokens) else Loopback()
    async with opened_store(places.store) as opened, inbox_of(opened, places.inbox) as inbox:
        place = StorePlace(opened, inbox, lambda: History(opened, trims=False))
        try:
            await place.rooms()
            app = pages_of(place, door_of(auth), masked)
            await _Server(uvicorn.Config(app, host, port, log_level="warning")).serve()
            await asyncio.sleep(0)  # Ctrl-C comes again behind the server: here, not while closing
        finally:
            await place.aclose()
    return 0


class _Server(uvicorn.Server):
    """A server that says where it is."""

    async def startup(self, *args: object, **options: object) -> None:
        await super().startup(*args, **options)  # type: ignore[arg-type]  # passed on as they come
        for server in self.servers:
            for socket in server.sockets:
                address, port = socket.getsockname()[:2]
                host = f"[{address}]" if ":" in address else address
                say(f"http://{host}:{port}/ (end with Ctrl-C)")
