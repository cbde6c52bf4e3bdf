"""One verb of a store or an inbox: concurrent single calls become batches, without a timer.

A call on an idle lane goes to the store at once, together with those made in the same turn of the
event loop. Calls that arrive while it is under way go together in the next batch. Under load this
batches by itself; without load it adds one empty turn of the loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Generic, TypeAlias, TypeVar, cast

from .contracts import never_waits
from .errors import StoreError, StoreUnavailable

__all__ = ["ANSWERED_A_TURN", "MAX_BATCH", "Direct", "Lane", "lane_of"]

T = TypeVar("T")
R = TypeVar("R")

_Verb: TypeAlias = "Callable[[Sequence[T]], Awaitable[Sequence[R] | None]]"

MAX_BATCH = 256
ANSWERED_A_TURN = 64
LOOK = 0.01


class Lane(Generic[T, R]):
    """Turns calls of one verb into batches of distinct keys, on the event loop it is made on.

    Args:
        verb: Takes a batch, gives answers in order. Repeating it must be safe.
        key: Names what must be distinct within a batch.
        orphan: Called with the answer to a call whose caller was cancelled meanwhile, or with
            ``None`` when that call was cut off.
        silent: The verb answers nothing.
    """

    def __init__(
        self,
        verb: _Verb[T, R],
        key: Callable[[T], object],
        orphan: Callable[[T, R | None], None] | None = None,
        *,
        silent: bool = False,
    ) -> None:
        self._verb = verb
        self._key = key
        self._orphan = orphan
        self._silent = silent
        # The first call of each key, and behind it the later ones of that key: what waits is the
        # next batch as it stands, and a key with many callers costs no more than one with one.
        # Requests and callers lie side by side: pairs would be one object more for every event.
        self._waiting: dict[object, T] = {}
        self._callers: dict[object, asyncio.Future[R]] = {}
        self._behind: dict[object, deque[tuple[T, asyncio.Future[R]]]] = {}
        self._busy = False
        self._loop = asyncio.get_running_loop()  # kept: to ask costs a system call before 3.12
        self._worker: asyncio.Task[None] | None = None
        self._begun = False

    def __call__(self, request: T) -> Awaitable[R]:
        """Make one call. Awaited, it gives its answer or raises what the store raised for it."""
        if self._busy and self._orphan is None:
            return self._enqueue(request)  # itself: each coroutine more is one in every event
        return self._call(request)

    async def _call(self, request: T) -> R:
        future = self._enqueue(request)
        if not self._busy:
            self._busy = True
            if not await self._finds_company(future):
                return await self._ask_alone(request)
            self._next()
        try:
            return await future
        except asyncio.CancelledError:
            # The answer came in the same turn of the loop, and nobody takes it any more.
            told = not future.cancelled() and future.exception() is None
            if told and self._orphan is not None:
                self._orphan(request, future.result())
            raise

    def _enqueue(self, request: T) -> asyncio.Future[R]:
        future: asyncio.Future[R] = self._loop.create_future()
        key = self._key(request)
        if key in self._waiting:
            self._behind.setdefault(key, deque()).append((request, future))
        else:
            self._waiting[key] = request
            self._callers[key] = future
        return future

    async def _finds_company(self, future: asyncio.Future[R]) -> bool:
        """Let the tasks that the loop woke together with this caller make their calls too.

        The callers of a batch go on together once it is answered: without this turn the first of
        them would call alone, and the others wait for it. Who stays alone is taken off the queue.
        """
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            future.cancel()
            self._next()
            raise
        if len(self._waiting) > 1 or self._behind:
            return True
        self._waiting.clear()
        self._callers.clear()
        return False

    async def _ask_alone(self, request: T) -> R:
        """Ask for one call in its caller's own task, with no future."""
        try:
            [answer] = await self._ask([request])
            return cast(R, answer)
        except asyncio.CancelledError:
            # The store may or may not have acted; what it granted must not stay with nobody.
            if self._orphan is not None:
                self._orphan(request, None)
            raise
        finally:
            self._next()

    def _next(self) -> None:
        """Start on the calls that came meanwhile."""
        self._busy = bool(self._waiting)
        if self._busy:
            self._begun = False
            self._worker = self._loop.create_task(self._work())
            self._worker.add_done_callback(self._ended)

    def _ended(self, worker: asyncio.Task[None]) -> None:
        """Put another in the place of a worker that was cancelled before it began."""
        if worker is self._worker and not self._begun:
            self._next()

    async def _work(self) -> None:
        self._begun = True
        requests, callers = self._pick()
        try:
            while requests:
                try:
                    await self._run(requests, callers)
                except StoreUnavailable as exc:
                    _fail(callers, exc)
                # The callers just answered go on first: what they ask next joins the next batch.
                await asyncio.sleep(0)
                requests, callers = self._pick()
        except BaseException:
            _fail(callers, StoreUnavailable("the call was cut off; it may have happened or not"))
            raise
        finally:
            self._next()

    def _pick(self) -> tuple[Sequence[T], Sequence[asyncio.Future[R]]]:
        """Take one call of each waiting key; what is left of a key waits behind the others."""
        requests, self._waiting = self._waiting, {}
        callers, self._callers = self._callers, {}
        for key in list(islice(requests, MAX_BATCH, None)):
            self._waiting[key], self._callers[key] = requests.pop(key), callers.pop(key)
        for key in [key for key in self._behind if key in requests]:
            self._follow(key, self._behind[key])
        cancelled = [key for key, caller in callers.items() if caller.done()]
        for key in cancelled:  # before it was sent
            del requests[key], callers[key]
        return list(requests.values()), list(callers.values())

    def _follow(self, key: object, behind: deque[tuple[T, asyncio.Future[R]]]) -> None:
        self._waiting[key], self._callers[key] = behind.popleft()
        if not behind:
            del self._behind[key]

    async def _run(self, requests: Sequence[T], callers: Sequence[asyncio.Future[R]]) -> None:
        try:
            answers = await self._ask(requests)
        except StoreUnavailable:
            raise
        except Exception as exc:  # noqa: BLE001 - handed to the caller it belongs to
            if len(requests) == 1:
                return _fail(callers, exc)
        else:
            return await self._deliver(requests, callers, answers)
        # One bad request must not fail its neighbours. The batch may have happened in part, and
        # every verb may be repeated.
        for request, caller in zip(requests, callers, strict=True):
            await self._run([request], [caller])
        return None

    async def _deliver(
        self,
        requests: Sequence[T],
        callers: Sequence[asyncio.Future[R]],
        answers: Sequence[R],
    ) -> None:
        """Answer some callers a turn of the loop: all at once would hold up everybody else."""
        calls = zip(requests, callers, answers, strict=True)
        for position in range(0, len(requests), ANSWERED_A_TURN):
            if position:
                await asyncio.sleep(0)
            for request, caller, answer in islice(calls, ANSWERED_A_TURN):
                if not caller.done():
                    caller.set_result(answer)
                elif self._orphan is not None:
                    self._orphan(request, answer)

    async def _ask(self, requests: Sequence[T]) -> Sequence[Any]:
        answers = await self._verb(requests)
        if self._silent:
            return [None] * len(requests)
        given = 0 if answers is None else len(answers)
        if answers is None or given != len(requests):
            raise StoreError(f"asked for {len(requests)} answers, the store gave {given}")
        return answers

    async def idle(self) -> None:
        """Wait until no call is under way or waiting."""
        while self._busy:
            if self._worker is not None and not self._worker.done():
                await asyncio.wait([self._worker])
            else:  # a caller asks alone, in its own task
                await asyncio.sleep(LOOK)


def _fail(callers: Iterable[asyncio.Future[R]], exc: Exception) -> None:
    for caller in callers:
        if not caller.done():
            caller.set_exception(exc)


class Direct(Generic[T, R]):
    """Makes each call by itself: what never waits gains nothing by company."""

    def __init__(self, verb: _Verb[T, R], *, silent: bool = False) -> None:
        self._verb = verb
        self._silent = silent

    def __call__(self, request: T) -> Awaitable[Any]:
        """Make one call. Awaited, it gives its answer."""
        asked = self._verb([request])
        return asked if self._silent else _first(asked)

    async def idle(self) -> None:
        """Wait for nothing."""


async def _first(asked: Awaitable[Any]) -> Any:
    return (await asked)[0]


def lane_of(
    backend: object,
    verb: _Verb[T, R],
    key: Callable[[T], object],
    orphan: Callable[[T, R | None], None] | None = None,
    *,
    silent: bool = False,
) -> Lane[T, R] | Direct[T, R]:
    """Make the lane of a verb of a store or inbox, by whether its verbs ever wait."""
    if never_waits(backend):
        return Direct(verb, silent=silent)
    return Lane(verb, key, orphan, silent=silent)
