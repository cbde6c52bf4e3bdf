"""The one object behind middleware and decorators: it ties everything together, starts, drains."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from time import monotonic
from types import TracebackType
from typing import Any

from .coalesce import Coalescer
from .contracts import Inbox, Observer, Startable, Store, need
from .engine import Engine
from .errors import ConfigError
from .guards import Passage
from .inbox import MemoryInbox, inbox_beside
from .loop_binding import LoopBinding
from .model import Delivery, Event, Item, Remembers, new_token
from .observe.lifecycle import close_observers, start_observers
from .observe.log import LogObserver
from .observe.measured import MeasuredStore, StoreMeter
from .observe.recorder import Recorder
from .policy import Policy, check_policy
from .routes import Route, Routes
from .runner import Runner
from .source import Source
from .standing import Job
from .startup_warnings import warn_at_startup
from .store_loops import joining_loop
from .stores import MemoryStore, SeenCache, open_store
from .worker import AT_WORK

__all__ = ["Dedup"]

logger = logging.getLogger("webhook_dedup")

Perform = Callable[[Delivery, Event], Awaitable[int]]
"""Runs the app for a delivery; returns its HTTP status."""

Work = Callable[[Event], Awaitable[int]]

LEAST_DRAIN = 1.0


class Dedup:
    """Everything that deduplicates in one process, for one event loop at a time.

    Build it yourself when the middleware shares it with decorators; otherwise the middleware
    builds one. ``async with dedup:`` starts and drains it where no lifespan does.

    Args:
        store: A store, or a URL (see :func:`webhook_dedup.stores.open_store`). A store made from a
            URL is closed with this object, one that was passed in stays open. Except memory, a
            store object serves one event loop at a time.
        sources: The senders the middleware listens to.
        inbox: Where accepted deliveries live until they are settled. By default beside the store:
            in the same SQLite file, Postgres or Redis, else in memory.
        observers: Take every record, beside the log.
        policy: In force where a source has none of its own.
        seen_cache: How many keys known done are remembered in this process for at most a minute,
            so that their duplicates cost no I/O; 0 turns it off.
        work: ``False`` only accepts events here and leaves their handlers to ``webhook-dedup
            work``, on this machine or another one.

    Raises:
        ConfigError: Something does not fit; the message says what to write instead.
    """

    def __init__(
        self,
        store: Store | str,
        *,
        sources: Iterable[Source] = (),
        inbox: Inbox | None = None,
        observers: Iterable[Observer] = (),
        policy: Policy | None = None,
        seen_cache: int = 10_000,
        work: bool = True,
    ) -> None:
        self._url = store if isinstance(store, str) else None
        self.store = open_store(store) if isinstance(store, str) else _checked(store)
        check_policy(policy)
        self.policy = policy or Policy()
        self.routes = Routes(sources, self.policy)
        self.record = Recorder((LogObserver(), *_listed(observers)))
        self._given_inbox = inbox
        self.inbox: Inbox = self._find_inbox()
        self.state: dict[str, Any] = {}
        self.seen: SeenCache | None = None
        self.engine: Engine
        self.runner: Runner
        self._seen_size = seen_cache
        self._perform: Perform = _no_app
        self._running_on: LoopBinding | None = None
        self._in_use_on: LoopBinding | None = None  # also while it starts and drains
        self._starting: asyncio.Task[None] | None = None
        self._used = False
        self._works = work
        self._check_powers()
        if not work:
            self._check_workers_can_take()

    def bind(self, perform: Perform) -> None:
        """Set how deliveries are run, and begin to take what is due. The middleware calls it."""
        self._perform = perform
        if self.running:
            self.runner.start()

    @property
    def bound(self) -> bool:
        """Whether something runs deliveries."""
        return self._perform is not _no_app

    @property
    def sources(self) -> Sequence[Source]:
        """The senders the middleware listens to."""
        return [route.source for route in self.routes.by_name.values()]

    @property
    def running(self) -> bool:
        """Whether it is started on the present event loop."""
        return self._running_on is not None and self._running_on.here

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop it runs on until it has drained, ``None`` where none is running."""
        binding = self._in_use_on
        return binding.loop if binding is not None and binding.alive else None

    async def __aenter__(self) -> Dedup:  # noqa: PYI034 - Self needs Python 3.11
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connect and check the store, then begin to run what comes due. May be called again.

        Until the middleware is built nothing is taken: its runs would fail for want of an app.

        Raises:
            ConfigError: The store cannot work as configured.
            StoreUnavailable: It cannot be reached; call again later.
        """
        if self.running:
            return
        if self._running_on is not None and self._running_on.alive:
            raise ConfigError(
                "this Dedup is running on the event loop of another thread; give each its own"
            )
        # A task of its own: a caller that is cancelled must not stop what others wait for.
        starting = self._under_way
        if starting is None:
            starting = self._starting = asyncio.ensure_future(self._start())
        await asyncio.shield(starting)

    @property
    def _under_way(self) -> asyncio.Task[None] | None:
        """The start that is under way on the present event loop."""
        starting = self._starting
        if starting is None or starting.done():
            return None
        return starting if starting.get_loop() is asyncio.get_running_loop() else None

    async def _start(self) -> None:
        if self._url is not None and self._used and not isinstance(self.store, MemoryStore):
            # It was closed, or belongs to an event loop that has ended.
            self.store = open_store(self._url)
            self.inbox = self._find_inbox()
        self._used = True
        with joining_loop(self):
            self._in_use_on = binding = LoopBinding()
        try:
            await self._start_all()
            self._running_on = binding
        except BaseException:
            self._leave(binding)
            await self._close(self.store, self.inbox)
            raise

    def _leave(self, binding: LoopBinding | None) -> None:
        """Leave an event loop, unless it was started on another one meanwhile."""
        if self._in_use_on is binding:
            self._in_use_on = None

    def _find_inbox(self) -> Inbox:
        """Choose where accepted deliveries live; without sources there are none."""
        if self._given_inbox is not None:
            return self._given_inbox
        return inbox_beside(self.store) if self.routes.by_name else MemoryInbox()

    async def _start_all(self) -> None:
        meters = [each for each in self.record.observers if isinstance(each, StoreMeter)]
        store = MeasuredStore(self.store, *meters) if meters else self.store
        self.seen = None
        if self._seen_size > 0:
            store = self.seen = SeenCache(store, size=self._seen_size)
        for backend in (store, self.inbox):
            if isinstance(backend, Startable):
                await backend.start()
        await start_observers(self.record.observers, self.inbox)
        self.engine = Engine(Coalescer(store), self.record, self.seen)
        self.runner = self._runner()
        warn_at_startup(self.routes.by_name.values(), self.inbox)
        if self.bound:
            self.runner.start()
        elif self.routes.by_name:
            logger.warning(
                "events that wait are not run yet: WebhookDedup is not built. A mounted app builds "
                "its middleware with its first request; app.mount(path, WebhookDedup(mounted_app, "
                "dedup=dedup)) does it at once"
            )

    def _runner(self) -> Runner:
        worker = AT_WORK.get()
        parts = (self.engine, self.inbox, self._job, self.record, self.policy)
        known = self.routes.by_name
        if worker is None:
            return Runner(*parts, works=self._works, sources=known)
        worker.dedups.append(self)
        return Runner(*parts, poll=worker.poll, sources=known)

    async def stop(self) -> None:
        """Let running handlers end, cancel and release what does not, close what was opened.

        A start that is under way is waited for.
        """
        starting = self._under_way
        if starting is not None:
            await asyncio.wait([starting])
        if not self.running:
            return
        binding, self._running_on = self._running_on, None
        # Taken along, because it may be started again while it drains.
        store, inbox, engine, runner = self.store, self.inbox, self.engine, self.runner
        ends_at = monotonic() + self.policy.drain_timeout
        try:
            await runner.drain(self.policy.drain_timeout)
            await engine.drain(max(ends_at - monotonic(), LEAST_DRAIN))
        finally:
            self._leave(binding)
            try:
                if self._in_use_on is None:  # before what they may look into is closed
                    await close_observers(self.record.observers)
            finally:
                await self._close(store, inbox)
        if isinstance(inbox, MemoryInbox) and len(inbox):
            logger.warning(
                "%d accepted events were not finished and end with this process", len(inbox)
            )

    async def _close(self, store: Store, inbox: Inbox) -> None:
        """Close what was made here, but for memory that goes on to be used."""
        try:
            if self._given_inbox is None and not isinstance(inbox, MemoryInbox):
                await inbox.aclose()
        finally:
            if self._url is not None and (self._in_use_on is None or store is not self.store):
                await store.aclose()

    def item(self, delivery: Delivery, event: Event) -> Item:
        """Make the inbox item of a new delivery."""
        key = "" if event.key is None else str(event.key)
        return Item(delivery.id, new_token(delivery.id), delivery, key=key, event_id=event.id)

    def job(self, route: Route, event: Event, delivery: Delivery) -> Job:
        """Make the job that runs an event."""
        work = _AppRun(self._perform, route, delivery)
        return Job(event, route.policy, route.ttl, self.guarded(route, delivery, work))

    def guarded(self, route: Route, delivery: Delivery, work: Work) -> Work:
        """Return ``work`` within the stateful guards of a route."""
        if not route.source.guards.stateful:
            return work

        async def passed(event: Event) -> int:
            data = route.data(delivery)
            passage = Passage(event, data, self.engine, self.record, lambda status: status)
            status: int = await route.source.guards.around(passage, lambda: work(event))()
            return status

        return passed

    def _job(self, item: Item) -> Job:
        delivery = item.delivery
        route = self.routes.by_name.get(delivery.source)
        if route is None:
            raise ConfigError(
                f"delivery {item.id} came from source {delivery.source!r}, which is not configured"
                " here; whatever it sent waits for a process that knows it"
            )
        return self.job(route, route.read(delivery), delivery)

    def _check_powers(self) -> None:
        for route in self.routes.by_name.values():
            if route.policy.on_mismatch == "reject":
                need(self.store, Remembers.FINGERPRINT, "on_mismatch='reject'")

    def _check_workers_can_take(self) -> None:
        """Refuse to leave events to workers that could not find them."""
        if isinstance(self.inbox, MemoryInbox):
            raise ConfigError(
                "work=False leaves events to other processes, which cannot see the memory of this "
                "one; use a sqlite://, postgresql:// or redis:// store, or pass inbox=…"
            )
        for route in self.routes.by_name.values():
            if route.source.ack != "first":
                raise ConfigError(
                    f"work=False cannot work for source {route.source.name!r} with "
                    f"ack={route.source.ack!r}, which runs the handler here; write ack='first'"
                )


class _AppRun:
    """Runs the app for a delivery, with those of its items that are to be handled.

    A closure would do the same, but take six objects for every event.
    """

    __slots__ = ("_delivery", "_perform", "_route")

    def __init__(self, perform: Perform, route: Route, delivery: Delivery) -> None:
        self._perform = perform
        self._route = route
        self._delivery = delivery

    def __call__(self, shown: Event) -> Awaitable[int]:
        return self._perform(self._route.narrow(self._delivery, shown), shown)


def _checked(store: Store) -> Store:
    verbs = ("claim", "complete", "release", "renew", "aclose")
    if not all(callable(getattr(store, verb, None)) for verb in verbs):
        raise ConfigError(
            f"a store is a URL or an object with the verbs {', '.join(verbs)}; got {store!r}"
        )
    return store


def _listed(observers: Iterable[Observer]) -> Iterable[Observer]:
    if not isinstance(observers, Iterable):
        raise ConfigError(
            f"observers must be a list such as [PrometheusObserver()], got {observers!r}"
        )
    return observers


async def _no_app(_: Delivery, event: Event) -> int:
    raise ConfigError(f"nothing runs event {event.id!r}: no middleware is bound to this Dedup")
