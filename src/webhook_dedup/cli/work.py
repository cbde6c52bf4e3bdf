"""``webhook-dedup work``: run the handlers of an app without serving it."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from socket import socket
from types import FrameType
from typing import Annotated

import typer
import uvicorn

from ..dedup import Dedup
from ..inbox import MemoryInbox
from ..worker import AT_WORK, Worker
from .output import say

__all__ = ["work"]

_REFUSED = 1
_UVICORN_REFUSES = 3
_NOT_STARTED = "the app did not start; see the log above"


class _Workshop(uvicorn.Server):
    """A server that listens nowhere: it starts the app, waits for a signal, drains and stops it."""

    def __init__(self, config: uvicorn.Config, worker: Worker) -> None:
        super().__init__(config)
        self.fault = ""
        self._worker = worker

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start the app, and refuse one that leaves nothing to work on."""
        await super().startup(sockets)
        if self.should_exit and not self.lifespan.should_exit:
            return  # a signal came meanwhile
        working = [dedup for dedup in self._worker.dedups if dedup.routes.by_name]
        self.fault = _NOT_STARTED if self.should_exit else _idle(working)
        if self.fault:
            self.should_exit = True
        else:
            for dedup in working:
                say(_undertaking(dedup))
            # What was imported stays until the end. The collector, which would walk through all of
            # it again and again, takes tens of milliseconds each time.
            gc.collect()
            gc.freeze()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop in good order, without the signal's exit code; a second Ctrl-C ends it at once."""
        if self.should_exit and sig == signal.SIGINT:
            super().handle_exit(sig, frame)
        self.should_exit = True


def _idle(working: Sequence[Dedup]) -> str:
    """Say why a worker would never get anything to run; nothing where it may."""
    sources = [source for dedup in working for source in dedup.sources]
    if not working:
        return (
            "no WebhookDedup started with the lifespan of this app; add the middleware to the "
            "outermost app, or put 'async with dedup:' into its lifespan"
        )
    if not all(dedup.bound for dedup in working):
        return (
            "the WebhookDedup of this app is mounted below another app, which builds it with "
            "the first request, and a worker gets none; mount it on the outermost app"
        )
    if all(isinstance(dedup.inbox, MemoryInbox) for dedup in working):
        return (
            "the events of this app wait in the memory of the process that accepted them, where no "
            "worker sees them; use a sqlite://, postgresql:// or redis:// store, or inbox=…"
        )
    if all(source.ack == "handled" for source in sources):
        return (
            "all sources of this app have ack='handled': their events are handled where they "
            "arrive and never wait for a worker; write ack='first' where the sender can do "
            "without the handler's answer"
        )
    return ""


def _undertaking(dedup: Dedup) -> str:
    """Say what a worker works on. Logins and options are left out of URLs."""
    url = getattr(getattr(dedup.store, "connection", None), "url", None)
    known = () if url is None else (url.host, url.database)
    store = " ".join(filter(None, (dedup.store.name, *known)))
    return f"working on {', '.join(dedup.routes.by_name)}; store {store}, inbox {dedup.inbox.name}"


def work(
    app: Annotated[str, typer.Argument(metavar="MODULE:APP", help="The app, as for uvicorn.")],
    *,
    factory: Annotated[bool, typer.Option(help="APP is a function that makes the app.")] = False,
    app_dir: Annotated[Path, typer.Option(help="Where to look for the module.")] = Path(),
    poll: Annotated[
        float, typer.Option(min=0.01, max=60, help="Seconds between looks into an empty inbox.")
    ] = 0.2,
) -> None:
    """Run the events that other processes accepted, until a signal comes.

    The app is started like in a server but is never listened for, so that any number of workers
    on any machine may share the inbox of the app's servers. Servers that are to run no handlers
    themselves mount WebhookDedup with work=False. A worker that ended in good order exits with 0.
    """
    sys.path.insert(0, str(app_dir.resolve()))
    worker = Worker(poll)
    AT_WORK.set(worker)
    workshop = _Workshop(uvicorn.Config(app, lifespan="on", factory=factory), worker)
    try:
        workshop.run(sockets=[])
    except SystemExit as exc:
        if exc.code != _UVICORN_REFUSES:
            raise
        workshop.fault = _NOT_STARTED
    if workshop.fault:
        say(workshop.fault, err=True)
        raise typer.Exit(_REFUSED)
    if getattr(workshop.lifespan, "shutdown_failed", False):
        raise typer.Exit(_REFUSED)  # the app's log says why
