"""``webhook-dedup stores``: what a person may do to the claims of a store."""

from __future__ import annotations

from typing import Annotated

import typer

from ..contracts import Forgetful
from ..errors import MissingPower
from ..model import Key
from .output import AsJson, StoreUrl, obey, opened_store, print_json, say

__all__ = ["stores"]

stores = typer.Typer(no_args_is_help=True, help="Act on what a store remembers.")


@stores.callback()
def _stores() -> None:
    """Act on what a store remembers."""


@stores.command()
def forget(
    event_id: Annotated[str, typer.Argument(help="The provider's event id.")],
    source: Annotated[str, typer.Option(help="Name of the source.")],
    tenant: Annotated[str, typer.Option(help="What {tenant} in the path stood for.")] = "",
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Forget one event, so that its next delivery runs.

    A process that saw the event done may answer from its own memory for up to a minute.
    """
    obey(_forget(store, str(Key(f"webhook:{source}", event_id, tenant)), as_json=as_json))


async def _forget(url: str, key: str, *, as_json: bool) -> int:
    async with opened_store(url) as store:
        if not isinstance(store, Forgetful):
            raise MissingPower(f"{store.name} cannot forget single events")
        forgotten = await store.forget(key)
    if as_json:
        print_json({"key": key, "forgotten": forgotten})
    elif forgotten:
        say(
            "forgotten: its next delivery runs; a process that saw it done may answer from its own "
            "memory for up to a minute"
        )
    else:
        say("nothing forgotten: the store neither holds nor remembers this event")
    return 0 if forgotten else 1
