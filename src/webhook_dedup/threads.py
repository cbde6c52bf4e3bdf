"""Handlers that are plain functions run in threads, which cannot be stopped."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .errors import ConfigError

__all__ = ["call", "outlast", "refuse_generator"]

THREADS = 40

# How many such threads deep a call is: one that blocks in ``.sync(…)`` waits for another.
_depth: contextvars.ContextVar[int] = contextvars.ContextVar("webhook_dedup.depth", default=0)


def refuse_generator(function: object) -> None:
    """Refuse a function whose calls run nothing of it, and would pass for done.

    Raises:
        ConfigError: It has a ``yield``.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        name = getattr(function, "__qualname__", type(function).__qualname__)
        raise ConfigError(
            f"{name} is a generator, of which a call runs nothing: what it was called for "
            "would be done before it began; write a function without yield that consumes it"
        )


async def outlast(future: asyncio.Future[Any]) -> None:
    """Wait for a future however often the waiter is cancelled."""
    while not future.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([future])


@functools.cache
def _threads(pid: int, depth: int) -> ThreadPoolExecutor:  # a forked child inherits no threads
    """Return the pool of a depth: in one for all, those who wait could hold every thread."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix=f"webhook_dedup-{pid}-{depth}")


async def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a handler: an ``async def`` here, a plain ``def`` in a thread.

    A thread cannot be stopped. When this call is cancelled after the thread has begun, it ends only
    when the thread has, and then with what the thread returned or raised: its effects have
    happened.

    Raises:
        ConfigError: It is a generator.
    """
    if inspect.iscoroutinefunction(function):
        return await function(*args, **kwargs)
    refuse_generator(function)
    context, depth = contextvars.copy_context(), _depth.get()
    context.run(_depth.set, depth + 1)
    bound = functools.partial(context.run, _without_stop_iteration, function, *args, **kwargs)
    thread = _threads(os.getpid(), depth).submit(bound)
    future = asyncio.wrap_future(thread)
    try:
        await asyncio.wait([future])
    except asyncio.CancelledError:
        if thread.cancel():  # it was still waiting for its turn
            raise
        await outlast(future)
    value = future.result()
    return await value if inspect.isawaitable(value) else value


def _without_stop_iteration(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except StopIteration as exc:  # no future takes it, and its waiter would wait for ever
        raise RuntimeError("the handler raised StopIteration") from exc
