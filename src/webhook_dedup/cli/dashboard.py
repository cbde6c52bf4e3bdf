"""``webhook-dedup dashboard``: the pages of an app, served from outside by its store."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
import uvicorn

from ..errors import ConfigError, MissingExtra, WebhookDedupError
from ..observe.history import History
from .output import obey, say
from .storage import InboxUrl, StoreUrl, Urls, inbox_of, opened_store

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
    root_path: Annotated[
        str, typer.Option(metavar="PATH", help="What a proxy takes off all paths.")
    ] = "",
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
    address = _Address(host, port, root_path)
    obey(_dashboard(Urls(store, inbox), address, (token, read_only_token), mask_header or ()))


@dataclass(frozen=True, slots=True)
class _Address:
    """Where the pages are.

    Attributes:
        host: To listen at.
        port: To listen at.
        root_path: What a proxy takes off paths, so that links must bear it.
    """

    host: str
    port: int
    root_path: str


async def _dashboard(
    urls: Urls, address: _Address, tokens: tuple[str, str], masked: Sequence[str]
) -> int:
    try:
        from ..dashboard.app import pages_of  # noqa: PLC0415 - of another extra
        from ..dashboard.auth import (  # noqa: PLC0415 - of another extra
            Loopback,
            Tokens,
            authenticator_of,
            is_loopback,
        )
        from ..dashboard.deployment import StoreDeployment  # noqa: PLC0415 - of another extra
    except ModuleNotFoundError as exc:
        raise MissingExtra(f"the pages of the dashboard ({exc.name})", "dashboard") from exc
    if not (any(tokens) or is_loopback(address.host)):
        raise ConfigError(
            f"whoever reaches {address.host} could look and act; set "
            "WEBHOOK_DEDUP_DASHBOARD_TOKEN, or listen at 127.0.0.1"
        )
    if not re.fullmatch("(/[^/?#]+)*", address.root_path):
        raise ConfigError("--root-path is a path such as /hooks, without a slash at its end")
    auth = Tokens(*(token or None for token in tokens)) if any(tokens) else Loopback()
    async with opened_store(urls.store) as opened, inbox_of(opened, urls.inbox) as inbox:
        deployment = StoreDeployment(opened, inbox, lambda: History(opened, trims=False))
        try:
            await deployment.storage()
            app = pages_of(deployment, authenticator_of(auth), masked)
            config = uvicorn.Config(app, **asdict(address), log_level="warning")
            await _Server(config).serve()
            await asyncio.sleep(0)  # Ctrl-C comes again behind the server: here, not while closing
        finally:
            await deployment.aclose()
    return 0


class _Server(uvicorn.Server):
    """A server that says where it is."""

    async def startup(self, *args: object, **options: object) -> None:
        try:
            await super().startup(*args, **options)  # type: ignore[arg-type]  # passed on as they come
        except SystemExit as exc:  # with a code of uvicorn's own, which has logged the cause
            at = f"{self.config.host}:{self.config.port}"
            raise WebhookDedupError(f"the pages cannot be served at {at}; see above") from exc
        for server in self.servers:
            for socket in server.sockets:
                address, port = socket.getsockname()[:2]
                host = f"[{address}]" if ":" in address else address
                say(f"http://{host}:{port}/ (end with Ctrl-C)")
