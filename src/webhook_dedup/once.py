"""``once``: a side effect that happens once, across workers and restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any, NoReturn, TypeVar, overload
from uuid import UUID

from .contracts import Store
from .dedup import Dedup
from .errors import LeaseLost, out_of_group
from .keys import digest
from .model import Claim
from .operation import Operation, event_for
from .policy import DAY, Duration, seconds
from .portal import call_in_portal, shared
from .run import cancellations
from .threads import call

__all__ = ["First", "once"]

T = TypeVar("T")

REMEMBERED = 30 * DAY  # longer than any provider goes on delivering


@dataclass(frozen=True, slots=True)
class First:
    """Whether the block is to act: false only when its effect has happened.

    Attributes:
        first: The same, by name.
        idempotency_key: For the API that acts: a UUID derived from scope and key, so that every
            try, in any process, sends the same.
    """

    first: bool
    idempotency_key: str

    def __bool__(self) -> bool:
        return self.first


class _Unentered:
    """Refuses to be asked whether it is true before it is entered, as every object would be."""

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "once claims nothing before it is entered: write 'async with once(…) as first:', or "
            "'with once.sync(…) as first:', and ask 'if first:' in the block"
        )


class once(_Unentered):  # noqa: N801 - reads as a word of the language, as contextlib.suppress does
    """Do something once.

    An async context manager::

        async with once(store, f"order-{order.id}-confirmation") as first:
            if first:
                await send(mail, idempotency_key=first.idempotency_key)

    - ``first`` is true: nobody has done it and nobody else is at it. When the block ends, it is
      remembered as done; when it raises or is cancelled, it may be done again.
    - ``first`` is false: it has been done.
    - While another holder is inside, :class:`InProgress` is raised, with the time after which to
      try again: that process may still die, so it must not pass for done. Raised out of a handler
      of this library, it has the event run again later, uncounted.

    The lease is renewed while the block runs. If it is lost, the block is cancelled and
    :class:`LeaseLost` raised. A process that dies between the effect and the end of the block has
    the effect repeated: pass ``first.idempotency_key`` to an API that takes one.

    :meth:`call` does the same around a function, :meth:`sync` for code without an event loop.

    Args:
        store: A store, its URL, or a :class:`Dedup`.
        key: What is done, built from business facts. Text or an integer.
        lease: Seconds after which a holder that fell silent is taken for dead.
        ttl: How long it is remembered, 30 days unless given.
        scope: Keeps equal keys of different uses apart.

    Raises:
        ConfigError: The key is blank or no text, or something else does not fit.
        StoreUnavailable: The store does not answer, so nothing is done.
    """

    def __init__(
        self,
        store: Dedup | Store | str,
        key: str | int,
        *,
        lease: Duration = 30.0,
        ttl: Duration = REMEMBERED,
        scope: str = "once",
    ) -> None:
        self._entry = _Entry(store, key, lease, ttl, scope)
        self._cancellations = 0

    @property
    def idempotency_key(self) -> str:
        """What ``first.idempotency_key`` is."""
        return self._entry.idempotency_key

    @overload
    @staticmethod
    async def call(
        store: Dedup | Store | str,
        key: str | int,
        function: Callable[[], Awaitable[T]],
        *,
        lease: Duration = 30.0,
        ttl: Duration = REMEMBERED,
        scope: str = "once",
    ) -> T | None: ...
    @overload
    @staticmethod
    async def call(
        store: Dedup | Store | str,
        key: str | int,
        function: Callable[[], T],
        *,
        lease: Duration = 30.0,
        ttl: Duration = REMEMBERED,
        scope: str = "once",
    ) -> T | None: ...
    @staticmethod
    async def call(
        store: Dedup | Store | str,
        key: str | int,
        function: Callable[[], Any],
        *,
        lease: Duration = 30.0,
        ttl: Duration = REMEMBERED,
        scope: str = "once",
    ) -> Any:
        """Call a function once, and return what it returned; ``None`` when it had been called.

        ``once`` remembers that something was done, not what came of it: :func:`idempotent` returns
        the first result to every caller.

        Args:
            store: As of :class:`once`.
            key: As of :class:`once`.
            function: Takes no arguments. An ``async def`` runs here, a plain ``def`` in a thread.
            lease: As of :class:`once`.
            ttl: As of :class:`once`.
            scope: As of :class:`once`.
        """
        operation = _Entry(store, key, lease, ttl, scope).operation(await shared(store))
        claim, sent = await operation.claim()
        if claim.done:
            return None
        return await operation.run(lambda: call(function), claim, sent)

    @staticmethod
    def sync(
        store: Dedup | Store | str,
        key: str | int,
        *,
        lease: Duration = 30.0,
        ttl: Duration = REMEMBERED,
        scope: str = "once",
    ) -> AbstractContextManager[First]:
        """Do the same as a plain context manager, for a Celery task or a Flask view.

        A thread cannot be cancelled: a block whose lease is lost runs on, and the loss is recorded.
        A :class:`Dedup` that is running, such as the middleware's, and a store object that is in
        use are asked on their own event loop, from any other thread; a URL's store lives on an
        event loop in a thread of its own, as does a store object that is not in use yet.
        """
        return _Blocking(_Entry(store, key, lease, ttl, scope).blocking())

    async def __aenter__(self) -> First:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("once must be entered by a task")
        self._cancellations = cancellations()
        return await self._entry.enter(await shared(self._entry.store), task.cancel)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        lost = await self._entry.leave(exc)
        if lost and self._take_back_cancellation() and isinstance(exc, asyncio.CancelledError):
            raise lost from exc

    def _take_back_cancellation(self) -> bool:
        """Say whether nobody else asked for one. Before Python 3.11 no task can tell."""
        task: Any = asyncio.current_task()
        return not hasattr(task, "uncancel") or task.uncancel() <= self._cancellations


class _Blocking(_Unentered, AbstractContextManager[First]):
    def __init__(self, manager: AbstractContextManager[First]) -> None:
        self._manager = manager

    def __enter__(self) -> First:
        return self._manager.__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self._manager.__exit__(exc_type, exc, traceback)


class _Entry:
    """Enters and leaves one ``with``, for its async and its blocking form."""

    def __init__(
        self, store: Dedup | Store | str, key: str | int, lease: Duration, ttl: Duration, scope: str
    ) -> None:
        self.store = store
        self._event = event_for(scope, key)
        self._lease = seconds(lease, "lease")
        self._ttl = seconds(ttl, "ttl")
        self._block: _Block | None = None
        self._gone = False

    @property
    def idempotency_key(self) -> str:
        return str(UUID(bytes=digest(str(self._event.key)), version=5))

    def operation(self, dedup: Dedup) -> Operation:
        return Operation(dedup, self._event, self._lease, self._ttl)

    async def enter(self, dedup: Dedup, on_lost: Callable[[], object]) -> First:
        operation = self.operation(dedup)
        claim, sent = await operation.claim()
        if claim.fresh:
            self._block = _Block(operation, claim, sent, on_lost)
        if self._gone:
            await self.leave(asyncio.CancelledError("nobody waits for it any more"))
        return First(claim.fresh, self.idempotency_key)

    async def leave(self, error: BaseException | None) -> LeaseLost | None:
        block, self._block = self._block, None
        return None if block is None else await block.leave(error)

    @contextmanager
    def blocking(self) -> Iterator[First]:
        error: BaseException | None = None
        try:
            yield call_in_portal(self.store, lambda dedup: self.enter(dedup, lambda: None))
        except BaseException as exc:  # also a worker's time limit, just when the claim is granted
            error = exc
            raise
        finally:
            # What stayed held would be renewed for as long as the process lives. No call stands
            # outside of the try, where the interpreter would look for signals.
            self._gone = True  # for an entry that the caller could not cancel any more
            try:
                self._leave_blocking(error)
            except BaseException:  # a time limit, perhaps before the portal has begun
                self._leave_blocking(error)
                raise

    def _leave_blocking(self, error: BaseException | None) -> None:
        """Leave what was entered. For nothing held, a store that is away is not asked again."""
        if self._block is not None:
            call_in_portal(self.store, lambda _: self.leave(error))


class _Block:
    """The claim that is held inside a ``with``."""

    def __init__(
        self, operation: Operation, claim: Claim, sent: float, on_lost: Callable[[], object]
    ) -> None:
        self._operation = operation
        self._claim = claim
        self._held = operation.dedup.engine.hold(claim, operation.lease, on_lost, sent=sent)
        self._began = monotonic()

    async def leave(self, error: BaseException | None) -> LeaseLost | None:
        """Settle by what ended the block; return the loss of its lease, if that happened."""
        lost = LeaseLost("the claim ran out inside its block") if self._held.lost else None
        self._held.drop()
        ended = lost if lost and error else error and out_of_group(error)
        await self._operation.settle(self._claim, ended, duration=monotonic() - self._began)
        return lost
